"""Check of the table's changelog: whether it has what its owners' tables and the database have.

Every owner notes with its progress which changelog its table is of, and how far (``rules.changelog_marks``), so records
that the broker has lost are found without reading any table. The database follows the changelog: users that it has and
the changelog has not are gone from the changelog.
"""

from collections.abc import Iterator
from contextlib import closing

from everwatch.core.errors import RecordsUnreadable, StoreError
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import SECOND_LOOK_S, System
from everwatch.encoding.codec import SEPARATOR
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.to_end import read_to_end
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
    if records > MOST_COUNTED:
        yield well("changelog", f"has what the workers' tables have; {records} records, too many to count the users")
        return
    try:
        users, in_database = count_users(system, held)
        if in_database is not None and in_database > users:
            # the sink follows the changelog: a recent deletion reaches the database later
            system.pause(SECOND_LOOK_S)
            users, in_database = count_users(system, held_of(system, topic))
    except RecordsUnreadable as error:
        yield fault("changelog", str(error), CHANGELOG_REMEDY)
        return
    if in_database is None:
        yield well("changelog", f"has what the workers' tables have, {users} users; the database cannot be read")
        return
    if in_database > users:
        yield fault(
            "changelog",
            f"{topic} has {users} users, the database has {in_database}: some are gone from the changelog, or the sink"
            " is behind",
            f"If the sink is not behind: {_REMEDY}",
        )
        return
    yield well("changelog", f"has what the workers' tables and the database have, {users} users")


def count_users(system: System, held: dict[int, Held]) -> tuple[int, int | None]:
    """Count the users of the changelog, and of the database (None if that cannot be read). Reads all of it.

    Raises BrokerUnavailable, RecordsUnreadable, AccessError.
    """
    topic = system.topics.monitors_changelog
    with closing(system.new_consumer(**{"enable.partition.eof": True})) as consumer:
        users: set[bytes] = set()
        for messages in read_to_end(consumer, topic, {n: range(some.start, some.end) for n, some in held.items()}):
            for message in messages:
                key = message.key()
                if isinstance(key, bytes) and key.endswith(SEPARATOR):
                    (users.discard if message.value() is None else users.add)(key)
    try:
        with closing(open_reader(system.settings)) as reader:
            return len(users), reader.count_users()
    except StoreError:
        return len(users), None


def held_of(system: System, topic: str) -> dict[int, Held]:
    identity = topic_id(system.admin, topic)
    # what an owner has noted is committed, although the broker may not have closed all of it yet
    with closing(system.new_consumer(**{"isolation.level": "read_uncommitted"})) as consumer:
        found = {number: bounds(consumer, topic, number) for number in range(system.settings.partitions)}
    return {number: Held(identity, some.start, some.stop) for number, some in found.items()}
