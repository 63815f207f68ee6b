"""The account at the end: what was due by the schedules alone, against what the database holds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from everwatch import codec
from everwatch.demo.cast import Part
from everwatch.model import Every
from everwatch.schedule.duration import parse_duration_ms
from everwatch.schedule.every import due_between, phase_of
from everwatch.store.interface import Reader

Key = tuple[str, str]


@dataclass(frozen=True)
class Account:
    """Ticks of the demo's monitors due in a window of time.

    ``missed``: due, but neither a result nor a skipped one stands for it. ``duplicates``: results that would count
    twice or that no schedule asked for. ``redelivered``: results that came more than once and are held once.
    """

    due: int
    stored: int
    missed: int
    duplicates: int
    redelivered: int


def settle_account(reader: Reader, parts: Iterable[Part], after: int, upto: int) -> Account:
    """Count what was due at after < t <= upto, from what the demo asked for and when each monitor began."""
    due = _due(reader, parts, after, upto)
    stored: Counter[Key] = Counter()
    extra = redelivered = 0
    last: tuple[Key, int] | None = None
    for identity in reader.identities(after + 1, upto + 1):
        key = identity.user_id, identity.monitor_id
        ranges = due.get(key)
        if ranges is None or identity.attempt > 1:
            continue
        redelivered += identity.deliveries - 1
        if identity.skipped_count:
            skipped = range(identity.scheduled_at, identity.skipped_until + 1)
            stored[key] += sum(1 for r in ranges for t in r if t in skipped)
        elif (key, identity.scheduled_at) != last and any(identity.scheduled_at in r for r in ranges):
            stored[key] += 1
        else:
            extra += 1
        last = key, identity.scheduled_at
    wanted = {key: sum(len(r) for r in ranges) for key, ranges in due.items()}
    return Account(
        due=sum(wanted.values()),
        stored=sum(stored.values()),
        missed=sum(max(0, count - stored[key]) for key, count in wanted.items()),
        duplicates=extra,
        redelivered=redelivered,
    )


def _due(reader: Reader, parts: Iterable[Part], after: int, upto: int) -> dict[Key, list[range]]:
    """The due instants of each monitor, by the demo's own schedules; one that never began was due all the time."""
    schedules = {
        (part.user_id, part.monitor_id): Every(parse_duration_ms(part.spec["schedule"]["every"])) for part in parts
    }
    stretches: dict[Key, list[tuple[int, int]]] = {key: [] for key in schedules}
    for stretch in reader.history():
        key = stretch.user_id, stretch.monitor_id
        if key in stretches:
            until = upto if stretch.until is None else min(upto, stretch.until)
            stretches[key].append((max(after, stretch.since), until))
    due = {}
    for key, schedule in schedules.items():
        phase = phase_of(codec.table_key(*key), schedule)
        spans = stretches[key] or [(after, upto)]
        due[key] = [due_between(schedule, phase, begin, end) for begin, end in spans if begin < end]
    return due
