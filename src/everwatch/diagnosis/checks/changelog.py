"""Check of the table's changelog: whether it has what its owners' tables and the database have.

Every owner notes with its progress which changelog its table is of, and how far (``rules.changelog_marks``), so records
that the broker has lost are found without reading any table. It also notes how many users and monitors its table has.
The database follows the changelog: what it has and the changelog has not is gone from the changelog. Where the
changelog is too large to be read for that, the tables are compared with the database by the numbers that are noted.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer

from everwatch.core.config import Settings
from everwatch.core.errors import RecordsUnreadable, StoreError
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import SECOND_LOOK_S, System
from everwatch.encoding.codec import SEPARATOR, is_bookkeeping
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.progress import EntryCounts, Noted
from everwatch.kafka.to_end import SILENCE_S, read_to_end
from everwatch.kafka.topic_administration import topic_id
from everwatch.rules.changelog_marks import UNREADABLE_REMEDY as CHANGELOG_REMEDY
from everwatch.rules.changelog_marks import Held, covers, is_another
from everwatch.rules.generations import reason_closed
from everwatch.store.sql_reader import open_reader

# more than that is not read to be counted
MOST_COUNTED = 500_000
_REMEDY = (
    "Do not delete the workers' folders. Restart the worker that owned it last: it writes its table back if that is"
    " provably whole, and else says what to do ('everwatch worker --rebuild-changelog', or restore Kafka's data)."
)


def check_changelog(system: System) -> Iterator[Finding]:
    """Compare the changelog with what its owners noted, and with the database."""
    topic = system.topics.monitors_changelog
    # in this order: workers go on, and what they note behind a look at the changelog would pass for lost records
    noted = system.noted
    if closed := next((reason for note in noted.values() if (reason := reason_closed(note.owner))), ""):
        yield fault("changelog", f"no worker runs on {topic}", closed)
        return
    held = held_of(system, topic)
    lost = [number for number, note in noted.items() if note.owner and not covers(held[number], note.owner)]
    if lost:
        owner = noted[lost[0]].owner
        assert owner is not None  # or it would not be lost
        found = held[lost[0]]
        what = (
            "was made anew" if is_another(found, owner) else f"ends at offset {found.end}, its owner had {owner.offset}"
        )
        yield fault("changelog", f"{topic} has lost records of partitions {sorted(lost)}: it {what}", _REMEDY)
        return
    records = sum(some.end - some.start for some in held.values())
    counts = EntryCounters(
        lambda: count_entries(system.new_consumer, topic, held_of(system, topic)),
        lambda: noted_counts(system.read_noted(), system.settings.partitions),
        lambda: database_counts(system.settings),
        system.pause,
    )
    yield compared(topic, records, counts)


class EntryCounters(NamedTuple):
    """Users and monitors of the changelog, of the workers' tables and of the database, counted anew by each call.

    ``tables``: None if a worker has noted no number. ``database``: None if it cannot be read. ``pause`` waits for a
    number of seconds.
    """

    changelog: Callable[[], EntryCounts]
    tables: Callable[[], EntryCounts | None]
    database: Callable[[], EntryCounts | None]
    pause: Callable[[float], object]


def compared(topic: str, records: int, counts: EntryCounters) -> Finding:
    """Compare the counts. A changelog of more than ``MOST_COUNTED`` records is not read."""
    return _compared(topic, counts) if records <= MOST_COUNTED else _compared_by_notes(records, counts)


def _compared(topic: str, of: EntryCounters) -> Finding:
    """Compare what the changelog has, which is read, with the tables and the database."""
    others = {"the workers' tables": of.tables, "the database": of.database}
    try:
        counts, more = _look(of.changelog, others, of.pause)
    except RecordsUnreadable as error:
        return fault("changelog", str(error), CHANGELOG_REMEDY)
    if more:
        return fault(
            "changelog",
            f"{topic} has {_told(counts)}, {more}: some are gone from the changelog, or the sink is behind",
            f"If the sink is not behind: {_REMEDY}",
        )
    database = "" if of.database() is not None else "; the database cannot be read"
    both = "and the database " if not database else ""
    return well("changelog", f"has what the workers' tables {both}have, {_told(counts)}{database}")


def _compared_by_notes(records: int, of: EntryCounters) -> Finding:
    """Compare the database with what the workers note of their tables, where reading the changelog takes too long."""
    if of.tables() is None:
        return well(
            "changelog",
            f"has what the workers' tables have; {records:,} records, too many to count, and not every partition has"
            " had a worker of a version that notes how many users and monitors its table has",
        )
    counts, more = _look(lambda: of.tables() or _NONE, {"the database": of.database}, of.pause)
    if more:
        return fault(
            "changelog",
            f"the workers' tables have {_told(counts)}, {more}: some are gone from the tables, or the sink is behind",
            f"If the sink is not behind: {_REMEDY}",
        )
    database = "" if of.database() is not None else "; the database cannot be read"
    return well(
        "changelog", f"has what the workers' tables have, {_told(counts)} as they note ({records:,} records){database}"
    )


_Count = Callable[[], EntryCounts | None]
_NONE = EntryCounts(0, 0)


def _look(
    counted: Callable[[], EntryCounts], others: Mapping[str, _Count], pause: Callable[[float], object]
) -> tuple[EntryCounts, str]:
    """Return the counts, and which of the others has more, if one has, in words.

    Entries come and go while all are counted: one has more only if it has more both before and after a second count.
    """
    before = {name: count() for name, count in others.items()}
    counts = counted()
    more = [name for name, found in before.items() if _has_more(found, counts)]
    if more:
        # what is noted, and what the sink stores, follows within this time
        pause(SECOND_LOOK_S)
        counts = counted()
        more = [name for name in more if _has_more(before[name], counts)]
    if more:
        pause(SECOND_LOOK_S)
    for name in more:
        after = others[name]()
        if after is not None and _has_more(after, counts):
            verb = "has" if name == "the database" else "have"
            return counts, f"{name} {verb} {_told(after)}"
    return counts, ""


def _has_more(found: EntryCounts | None, counts: EntryCounts) -> bool:
    return found is not None and (found.users > counts.users or found.monitors > counts.monitors)


def _told(counts: EntryCounts) -> str:
    return f"{counts.users:,} users and {counts.monitors:,} monitors"


def count_entries(
    new_consumer: Callable[..., Consumer], topic: str, held: Mapping[int, Held], silence_s: float = SILENCE_S
) -> EntryCounts:
    """Count the users and monitors of the changelog. Reads all of it.

    Raises BrokerUnavailable, RecordsUnreadable, AccessError.
    """
    users: set[bytes] = set()
    monitors: set[bytes] = set()
    wanted = {number: range(some.start, some.end) for number, some in held.items()}
    with closing(new_consumer(**{"enable.partition.eof": True})) as consumer:
        for messages in read_to_end(consumer, topic, wanted, silence_s=silence_s):
            for message in messages:
                key = message.key()
                if not isinstance(key, bytes):
                    continue
                user, separator, monitor_id = key.partition(SEPARATOR)
                if not user or not separator or is_bookkeeping(monitor_id):
                    continue
                entries = monitors if monitor_id else users
                (entries.discard if message.value() is None else entries.add)(key)
    return EntryCounts(len(users), len(monitors))


def noted_counts(noted: Mapping[int, Noted], partitions: int) -> EntryCounts | None:
    """Return how many entries the owners' tables have by their notes; None if one of them has noted no number."""
    counts = [note.entries for note in noted.values() if note.entries is not None]
    if len(counts) < partitions:
        return None
    return EntryCounts(sum(each.users for each in counts), sum(each.monitors for each in counts))


def database_counts(settings: Settings) -> EntryCounts | None:
    """Return how many users and monitors the database has; None if it cannot be read."""
    try:
        with closing(open_reader(settings)) as reader:
            held = reader.catalogue_counts()
    except StoreError:
        return None
    return EntryCounts(sum(held.users.values()), sum(each.monitors for each in held.monitors))


def held_of(system: System, topic: str) -> dict[int, Held]:
    identity = topic_id(system.admin, topic)
    # what an owner has noted is committed, although the broker may not have closed all of it yet
    with closing(system.new_consumer(**{"isolation.level": "read_uncommitted"})) as consumer:
        found = {number: bounds(consumer, topic, number) for number in range(system.settings.partitions)}
    return {number: Held(identity, some.start, some.stop) for number, some in found.items()}
