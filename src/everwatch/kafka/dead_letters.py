"""How a refused record is kept: its original key and bytes, and the reason in headers."""

from everwatch.errors import InvalidInput
from everwatch.kafka.outbox import Headers


def refusal_headers(error: InvalidInput, *, topic: str, partition: int, offset: int, refused_at: int) -> Headers:
    """Headers of a dead letter: why (``reason``, ``path``), where from (``source_*``) and when (ms)."""
    return [
        ("reason", error.reason.encode()),
        ("path", error.path.encode()),
        ("source_topic", topic.encode()),
        ("source_partition", str(partition).encode()),
        ("source_offset", str(offset).encode()),
        ("refused_at", str(refused_at).encode()),
    ]
