"""Check for recent dead letters: inputs that were refused."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.consumer_groups import Position, bounds_of, first_since
from everwatch.kafka.dead_letter_record import REDRIVE_OF, alike
from everwatch.kafka.peek import PEEKING, peek
from everwatch.schedule.duration import describe_duration

# of each partition, so that a flood of them is not read to its end
LOOKED_AT = 200
MOST_NAMED = 5
LONGEST_SHOWN = 200


def check_dead_letters(system: System) -> Iterator[Finding]:
    """Count the dead letters of the last while by source and reason."""
    topic = system.topics.dead_letters
    positions = [(topic, number) for number in range(system.settings.partitions)]
    begins = first_since(system.admin, positions, system.clock.now_ms() - system.recent_ms)
    held = bounds_of(system.admin, begins)
    count = sum(max(0, held[position].stop - begin) for position, begin in begins.items() if position in held)
    lately = f"in the last {describe_duration(system.recent_ms)}"
    if not count:
        yield well("dead letters", f"none {lately}")
        return
    ends = {position: each.stop for position, each in held.items()}
    starts = {
        position: max(begin, ends[position] - LOOKED_AT) for position, begin in begins.items() if position in ends
    }
    reasons, notes, unread = _reasons(system, starts)
    count -= notes
    if unread:
        yield fault(
            "dead letters", f"the topic holds {count:,} of {lately}, not all of which can be read: {unread}", _REMEDY
        )
    if not count:
        yield well("dead letters", f"none {lately}")
        return
    least = "at least " if reasons.total() < count else ""
    for (source, reason), some in reasons.most_common(MOST_NAMED):
        yield fault("dead letters", f"{least}{some:,} of {source} {lately}: {reason}", _REMEDY)
    if others := reasons.total() - sum(some for _, some in reasons.most_common(MOST_NAMED)):
        yield fault("dead letters", f"{least}{others:,} with other reasons {lately}", _REMEDY)


_REMEDY = (
    "See them with 'everwatch dead-letters list', correct the sender, and send back what is still wanted with"
    " 'everwatch dead-letters redrive'."
)


def _reasons(system: System, starts: Mapping[Position, int]) -> tuple[Counter[tuple[str, str]], int, str]:
    """Return how many there are of each source topic and reason from these offsets on, and how many notes of redrives.

    The third says why some could not be read, if so. Raises AccessError.
    """
    found: Counter[tuple[str, str]] = Counter()
    notes, unread = 0, ""
    with closing(system.new_consumer(**PEEKING)) as consumer:
        for seen in peek(consumer, starts, LOOKED_AT).values():
            if seen.denied is not None:
                raise seen.denied
            if seen.error or not (seen.ended or seen.messages):
                unread = seen.error or "nothing comes"
            for message in seen.messages:
                headers = dict(message.headers() or [])
                if REDRIVE_OF in headers:
                    notes += 1
                    continue
                source, reason = (_text(headers.get(name)) for name in ("source_topic", "reason"))
                found[source or "an unknown topic", reason or "no reason is given"] += 1
    return grouped(found), notes, unread


def grouped(reasons: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Reasons of one kind together; the parts that differ (ids, numbers) are left out."""
    kinds: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for (source, reason), count in reasons.items():
        kinds.setdefault((source, alike(reason)), []).append((reason, count))
    return Counter(
        {
            (source, some[0][0] if len(some) == 1 else kind): sum(count for _, count in some)
            for (source, kind), some in kinds.items()
        }
    )


def _text(value: bytes | str | None) -> str:
    """A header's value without control characters, short enough for a line."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value or ""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:LONGEST_SHOWN])
