"""How a refused record is kept: its original key and bytes, and the reason in headers."""

from everwatch.errors import InvalidInput
from everwatch.kafka.outbox import Headers

MOST_KEPT_BYTES = 1_500_000
"""So much of a refused record is kept; only what came compressed can be longer."""
MOST_TOLD_CHARACTERS = 1_000


def refusal_headers(error: InvalidInput, *, topic: str, partition: int, offset: int, refused_at: int) -> Headers:
    """Headers of a dead letter: why (``reason``, ``path``, ``code``), where from (``source_*``) and when (ms).

    Reason and path may quote what was sent, and are cut where that is long.
    """
    return [
        ("reason", _cut(error.reason)),
        ("path", _cut(error.path)),
        ("code", error.code.encode()),
        ("source_topic", topic.encode()),
        ("source_partition", str(partition).encode()),
        ("source_offset", str(offset).encode()),
        ("refused_at", str(refused_at).encode()),
    ]


def _cut(text: str) -> bytes:
    return (text if len(text) <= MOST_TOLD_CHARACTERS else f"{text[:MOST_TOLD_CHARACTERS]}…").encode()
