"""Bytes to values and back: input models, Avro, table records, templates."""
