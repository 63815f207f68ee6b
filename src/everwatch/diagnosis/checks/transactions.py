"""Check for transactions that a client has left open: records behind one are not read until it ends."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.clients import TRANSACTION_TIMEOUT_MS
from everwatch.kafka.consumer_groups import held_back_of

# transactions are under way all the time: most have ended at the second look, and those of a worker that was killed at
# the last one
LOOK_AGAIN_S = (0.5, 4.0, TRANSACTION_TIMEOUT_MS / 1000)

Place = tuple[str, int]
HeldBack = Callable[[Collection[Place]], Mapping[Place, range]]
"""Gives, of some partitions, the offsets that are held back by open transactions."""


def check_transactions(system: System) -> Iterator[Finding]:
    """Look for partitions that are read only up to a transaction, and are so at each later look."""
    places = [(topic, number) for topic in system.topics.all for number in range(system.settings.partitions)]
    yield from findings(places, partial(held_back_of, system.admin), system.pause)


def findings(places: Collection[Place], held_back: HeldBack, pause: Callable[[float], object]) -> Iterator[Finding]:
    """Yield the partitions that ``held_back`` names at each look; ``pause`` waits a number of seconds."""
    held = held_back(places)
    for pause_s in LOOK_AGAIN_S:
        if not held:
            break
        pause(pause_s)
        later = held_back(held)
        held = {place: later[place] for place, some in held.items() if later.get(place, some[:0])[:1] == some[:1]}
    for topic in sorted({topic for topic, _ in held}):
        of_topic = {number: some for (name, number), some in held.items() if name == topic}
        first = min(of_topic)
        yield fault(
            "transactions",
            f"a client has left a transaction open on {topic}, partitions {sorted(of_topic)} (partition {first}: at"
            f" offset {of_topic[first].start}); {sum(map(len, of_topic.values())):,} records from that offset on are"
            " not read until it ends",
            "It ends by its own timeout, which the brokers' transaction.max.timeout.ms bounds, or when its producer"
            " starts again; 'kafka-transactions.sh find-hanging' names it, and 'abort' ends it now.",
        )
    if not held:
        yield well("transactions", "none is left open")
