"""The encoding of what Everwatch writes for others."""

from enum import StrEnum


class OutputFormat(StrEnum):
    """How results and transitions are written."""

    AVRO = "avro"
    JSON = "json"
