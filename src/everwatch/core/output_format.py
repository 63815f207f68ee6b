"""The encoding of what Everwatch writes for others."""

from enum import StrEnum


class OutputFormat(StrEnum):
    """Format of results and transitions."""

    AVRO = "avro"
    JSON = "json"
    CONFLUENT = "confluent"
