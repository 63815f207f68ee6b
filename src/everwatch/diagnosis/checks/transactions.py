"""Check for transactions that a client has left open: nothing behind one is read before it ends."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.clients import TRANSACTION_TIMEOUT_MS
from everwatch.kafka.consumer_groups import held_back_of

# transactions are under way all the time: most have ended at the second look, and those of a worker that was killed at
# the last one
LOOK_AGAIN_S = (0.5, 4.0, TRANSACTION_TIMEOUT_MS / 1000)


def check_transactions(system: System) -> Iterator[Finding]:
    """Look for partitions that are read only up to a transaction, and are so at each later look."""
    numbers = range(system.settings.partitions)
    held = held_back_of(system.admin, [(topic, number) for topic in system.topics.all for number in numbers])
    for pause_s in LOOK_AGAIN_S:
        if not held:
            break
        system.pause(pause_s)
        later = held_back_of(system.admin, held)
        held = {place: later[place] for place, some in held.items() if later.get(place, some[:0])[:1] == some[:1]}
    for topic in sorted({topic for topic, _ in held}):
        of_topic = {number: some for (name, number), some in held.items() if name == topic}
        first = min(of_topic)
        yield fault(
            "transactions",
            f"a client has left a transaction open on {topic}, partitions {sorted(of_topic)} (partition {first}: at"
            f" offset {of_topic[first].start}); {sum(map(len, of_topic.values())):,} records stand at or behind it, and"
            " nothing that reads reads past it",
            "It ends by its own timeout, which the brokers' transaction.max.timeout.ms bounds, or when its producer"
            " starts again; 'kafka-transactions.sh find-hanging' names it, and 'abort' ends it now.",
        )
    if not held:
        yield well("transactions", "none is left open")
