"""Metrics that several processes share."""

from prometheus_client import Counter, Gauge

POISON = Counter(
    "everwatch_poison_records", "Records put into the dead letters because their handling failed each time.", ["topic"]
)
UNREADABLE = Counter(
    "everwatch_unreadable_batches", "Batches of records passed over because they could not be read.", ["topic"]
)
DEAD_LETTERS = Counter(
    "everwatch_dead_letters", "Records put into the dead letters, by the topic they came from.", ["topic", "code"]
)
PRODUCER_ERRORS = Counter("everwatch_producer_errors", "Records that Kafka did not take.", ["topic"])
PRODUCER_QUEUE = Gauge("everwatch_producer_queue_records", "Records that the producer has not had acknowledged.")
ASSIGNED = Gauge("everwatch_assigned_partitions", "Partitions that this process holds.", ["topic"])
REBALANCES = Counter(
    "everwatch_rebalances", "Changes of a consumer's partitions by event: assigned, revoked, lost.", ["event"]
)
