"""Metrics of connections to targets."""

from prometheus_client import Counter

GUARD_REFUSALS = Counter(
    "everwatch_guard_refusals",
    "Connections refused because their address is private or reserved and not in EVERWATCH_ALLOW_NETWORKS.",
)
