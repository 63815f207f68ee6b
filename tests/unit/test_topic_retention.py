"""Tests of how long a topic holds what it holds, read from its configuration."""

import pytest

from everwatch.kafka.topic_retention import LOOKS_EVERY_MS, retention_of

DAY = 86_400_000


@pytest.mark.parametrize(
    ("config", "longest_ms", "rule"),
    [
        (
            {"cleanup.policy": "delete", "retention.ms": str(2 * DAY), "segment.ms": str(DAY)},
            3 * DAY + LOOKS_EVERY_MS,
            "retention.ms 2 d, segment.ms 1 d",
        ),
        (
            {"cleanup.policy": "delete", "retention.ms": "-1", "segment.ms": str(DAY)},
            None,
            "retention.ms unbounded, segment.ms 1 d",
        ),
        (
            {
                "cleanup.policy": "compact",
                "max.compaction.lag.ms": str(2**63 - 1),
                "delete.retention.ms": str(DAY),
            },
            None,
            "compacted; max.compaction.lag.ms unbounded, delete.retention.ms 1 d",
        ),
        (
            {
                "cleanup.policy": "compact",
                "max.compaction.lag.ms": str(7 * DAY),
                "delete.retention.ms": str(DAY),
            },
            8 * DAY + LOOKS_EVERY_MS,
            "compacted; max.compaction.lag.ms 7 d, delete.retention.ms 1 d",
        ),
        (
            {
                "cleanup.policy": "compact,delete",
                "max.compaction.lag.ms": str(2**63 - 1),
                "delete.retention.ms": str(DAY),
                "retention.ms": str(DAY),
                "segment.ms": str(DAY),
            },
            2 * DAY + LOOKS_EVERY_MS,
            "retention.ms 1 d, segment.ms 1 d; compacted; max.compaction.lag.ms unbounded, delete.retention.ms 1 d",
        ),
        ({}, None, "retention.ms unbounded, segment.ms unbounded"),
    ],
)
def test_the_bound_follows_from_the_policy(config: dict[str, str], longest_ms: int | None, rule: str) -> None:
    found = retention_of("results", config)
    assert (found.longest_ms, found.rule) == (longest_ms, rule)
