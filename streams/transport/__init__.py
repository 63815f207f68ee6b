"""Kafka as the worker uses it: batch consumers, Faust's own consumer, membership of the group, the other clients."""
