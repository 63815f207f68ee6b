"""Metrics that several processes share."""

from prometheus_client import Counter, Gauge, Histogram

POISON = Counter(
    "everwatch_poison_records", "Records put into the dead letters because their handling failed each time.", ["topic"]
)
UNREADABLE = Counter(
    "everwatch_unreadable_batches", "Batches of records passed over because they could not be read.", ["topic"]
)
DEAD_LETTERS = Counter(
    "everwatch_dead_letters", "Records put into the dead letters, by the topic they came from.", ["topic", "code"]
)
PRODUCER_ERRORS = Counter("everwatch_producer_errors", "Records that Kafka rejected.", ["topic"])
PRODUCER_QUEUE = Gauge(
    "everwatch_producer_queue_records", "Records queued or sent by the producer and not acknowledged yet."
)
ASSIGNED = Gauge("everwatch_assigned_partitions", "Partitions that this process holds.", ["topic"])
REBALANCES = Counter(
    "everwatch_rebalances",
    "Changes of a consumer's partitions by event: assigned, revoked, lost.",
    ["consumer", "event"],
)
REBALANCE_SECONDS = Histogram(
    "everwatch_rebalance_seconds",
    "Duration of rebalances: from the revocation until partitions are assigned; of a worker, until they emit ticks.",
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
INPUT_LAG = Gauge(
    "everwatch_input_lag_seconds",
    "Age of the first record of the batch that is being handled, by topic; 0 when all is handled.",
    ["topic"],
)
INPUT_RECORDS = Counter("everwatch_input_records", "Records read and handled, dead letters included.", ["topic"])
