"""The sink: results, state changes and the catalogue of monitors, from Kafka into the database."""

from everwatch.sink.sink_process import run

__all__ = ["run"]
