"""Repartitioning without a broker: where users go, what is copied, and which generation may be run.

All in one file: one procedure, step by step.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition
from sqlalchemy import insert, select
from typer.testing import CliRunner

from everwatch.backup.source_topics import SourceTopics
from everwatch.backup.stages import Silent
from everwatch.backup.topic_writer import TopicWriter
from everwatch.cli.main import app
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, TopicMismatch
from everwatch.diagnosis import System
from everwatch.diagnosis.checks.changelog import check_changelog
from everwatch.encoding.codec import LARGEST_INPUT_BYTES
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.consumed_record import Headers, Record
from everwatch.kafka.progress import Noted
from everwatch.kafka.topics import Topics
from everwatch.notifier.storage import SCHEMA, database_url_of, open_storage
from everwatch.notifier.tables import alert_events, incidents
from everwatch.repartition.database_partitions import move_notifier
from everwatch.repartition.placing import NewPlaces, Partitioner, Places, partition_of_user, place_by
from everwatch.repartition.table_sync import TableSync
from everwatch.repartition.tail_copy import INPUTS, OUTPUTS, PLACE_HEADER, TailCopy, UnreadRecords
from everwatch.rules.changelog_marks import Held, Mark, TableVerdict, decode_mark, judge
from everwatch.rules.generations import Generation, closed_mark, next_prefix, reason_closed, successor_of
from everwatch.store.database import open_for_writing

OLD, NEW = 4, 6
NAME = "monitors_changelog"
USERS = [f"user-{number}".encode() for number in range(40)]
PLACE = place_by(Partitioner.MURMUR2, NEW)


class FakeTopics:
    """Topics in memory, as ``SourceTopics`` reads them."""

    def __init__(self, prefix: str, partitions: int) -> None:
        topics = Topics.of(Settings(topic_prefix=prefix))
        self.names = topics.by_name
        self.ticks = topics.ticks_without_region.fields
        self.partitions = partitions
        self.records: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)

    def add(
        self, name: str, number: int, key: bytes | None, value: bytes | None, at: int = 1, headers: Headers = ()
    ) -> None:
        held = self.records[name, number]
        held.append(Record(self.names[name], number, len(held), at, key, value, headers))

    def bounds(self, name: str) -> dict[int, range]:
        return {number: range(len(self.records[name, number])) for number in range(self.partitions)}

    def read(self, name: str, wanted: Mapping[int, range]) -> Iterator[list[Record]]:
        for number, offsets in wanted.items():
            yield self.records[name, number][offsets.start : offsets.stop]

    def latest(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes | None] = {}
        for number in range(self.partitions):
            found |= {record.key or b"": record.value for record in self.records[NAME, number]}
        return {key: value for key, value in found.items() if value is not None}


class FakeWriter:
    """Writes into topics in memory."""

    def __init__(self, topics: FakeTopics) -> None:
        self._topics = topics
        self._names = {topic: name for name, topic in topics.names.items()}

    def write(
        self, topic: str, number: int, key: bytes | None, value: bytes | None, at: int, headers: Headers = ()
    ) -> None:
        self._topics.add(self._names[topic], number, key, value, at, headers)

    def check(self) -> None: ...

    def flush(self) -> None: ...


@pytest.fixture
def old() -> FakeTopics:
    topics = FakeTopics("", OLD)
    for user in USERS:
        number = partition_of_user(Partitioner.MURMUR2, user, OLD)
        topics.add(NAME, number, user + b"\0", b"user")
        topics.add(NAME, number, user + b"\0site", b"monitor")
    return topics


@pytest.fixture
def new() -> FakeTopics:
    return FakeTopics("g2.", NEW)


def sync_of(old: FakeTopics, new: FakeTopics) -> TableSync:
    source, target = cast(SourceTopics, old), cast(SourceTopics, new)
    return TableSync(NAME, source, target, PLACE, cast(TopicWriter, FakeWriter(new)), Silent())


def change(old: FakeTopics, user: bytes, value: bytes | None) -> None:
    old.add(NAME, partition_of_user(Partitioner.MURMUR2, user, OLD), user + b"\0site", value)


# --- generations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "following"), [("", "g2."), ("prod.", "prod.g2."), ("prod.g9.", "prod.g10."), ("big2.", "big2.g2.")]
)
def test_the_next_generation_stays_below_the_prefix_that_rights_are_given_for(prefix: str, following: str) -> None:
    assert next_prefix(prefix) == following


@pytest.mark.parametrize("table", [None, Mark("topic", 9, 7), Mark("topic", 1 << 62, 7)])
def test_no_worker_opens_a_closed_partition_whatever_its_table(table: Mark | None) -> None:
    mark = decode_mark(closed_mark("topic", Generation("prod.g2.", 6)).encode())
    assert successor_of(mark) == Generation("prod.g2.", 6)
    assert judge(table, Held("topic", 0, 10, 7), mark, "worker-1") is TableVerdict.UNKNOWN
    assert "EVERWATCH_TOPIC_PREFIX=prod.g2. and EVERWATCH_PARTITIONS=6" in reason_closed(mark)


def test_other_owners_have_not_closed_anything() -> None:
    for mark in (None, Mark("topic", 3, 1, "worker-1"), Mark("topic", 3, 1, "closed-by-repartition:x")):
        assert successor_of(mark) is None
        assert reason_closed(mark) == ""


def test_doctor_names_the_settings_of_the_generation_that_is_run() -> None:
    system = System(Settings(), "127.0.0.1:1", SettableClock(0), pause=lambda _: None)
    vars(system)["noted"] = {0: Noted(1, closed_mark("topic", Generation("g2.", 6)))}
    [finding] = check_changelog(system)
    assert not finding.ok
    assert "EVERWATCH_TOPIC_PREFIX=g2. and EVERWATCH_PARTITIONS=6" in finding.remedy


# --- users ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitioner", Partitioner)
def test_the_partitioner_is_the_one_that_put_all_users_where_they_are(partitioner: Partitioner) -> None:
    places = Places(OLD)
    for user in USERS:
        places.add(user + b"\0", b"user", partition_of_user(partitioner, user, OLD))
        places.add(user + b"\0site", b"monitor", 99)  # only users are looked at
    assert (places.partitioner(None), len(places)) == (partitioner, len(USERS))


def test_users_of_no_known_partitioner_are_refused_unless_one_is_named() -> None:
    places = Places(OLD)
    for number, user in enumerate(USERS):
        places.add(user + b"\0", b"user", number % OLD)
    with pytest.raises(TopicMismatch, match="--partitioner"):
        places.partitioner(None)
    assert places.partitioner(Partitioner.CRC32) is Partitioner.CRC32


def test_a_user_on_two_partitions_is_refused_until_it_is_gone() -> None:
    places = Places(OLD)
    places.add(b"anna\0", b"user", 1)
    places.add(b"anna\0", b"user", 2)
    with pytest.raises(TopicMismatch, match=r"1 users are on two partitions \(anna\)"):
        places.partitioner(Partitioner.MURMUR2)
    places.add(b"anna\0", None, 2)
    assert places.partitioner(Partitioner.MURMUR2) is Partitioner.MURMUR2


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_is_followed_and_the_copy_is_equal(old: FakeTopics, new: FakeTopics) -> None:
    sync = sync_of(old, new)
    assert sync.step() == 2 * len(USERS)
    change(old, USERS[0], None)
    # changed, deleted and as before within one step
    change(old, USERS[1], b"changed")
    change(old, USERS[1], None)
    change(old, USERS[1], b"monitor")
    change(old, USERS[2], b"changed")
    assert sync.step() == 5
    assert sync.step() == 0
    # only the latest of them is written
    assert sync.written == 2 * len(USERS) + 2
    assert sync.prove().number == 2 * len(USERS) - 1
    assert new.latest() == old.latest()
    for number in range(NEW):
        assert all(PLACE(record.key or b"") == number for record in new.records[NAME, number])
    assert {number: record.offset for number, record in sync.last.items()} == {
        number: len(new.records[NAME, number]) - 1 for number in range(NEW)
    }


def test_an_interrupted_copy_is_gone_on_with(old: FakeTopics, new: FakeTopics) -> None:
    sync_of(old, new).step()
    change(old, USERS[0], b"changed meanwhile")
    again = sync_of(old, new)
    again.step()
    assert again.written == 1
    again.prove()


def test_a_deletion_that_the_sink_has_not_seen_is_on_the_new_topic(old: FakeTopics, new: FakeTopics) -> None:
    change(old, b"gone", None)
    sync = sync_of(old, new)
    sync.step()
    written = [r for number in range(NEW) for r in new.records[NAME, number] if r.key == b"gone\0site"]
    assert [record.value for record in written] == [None]


def test_readers_go_on_with_what_they_have_not_read_in_its_order(old: FakeTopics, new: FakeTopics) -> None:
    sync = sync_of(old, new)
    sync.step()
    number = partition_of_user(Partitioner.MURMUR2, USERS[0], OLD)
    read = len(old.records[NAME, number])
    for value in (b"1", None, b"2"):
        change(old, USERS[0], value)
    sync.step()
    begins = {n: len(old.records[NAME, n]) for n in range(OLD)} | {number: read}
    ends = sync.repeat(begins)
    behind = {n: [r.value for r in new.records[NAME, n][ends[n] :]] for n in range(NEW)}
    assert {n: values for n, values in behind.items() if values} == {PLACE(USERS[0]): [b"1", None, b"2"]}
    sync.prove()


def test_a_copy_that_differs_is_no_copy(old: FakeTopics, new: FakeTopics) -> None:
    sync = sync_of(old, new)
    sync.step()
    # another process writes to it
    new.add(NAME, PLACE(b"stranger"), b"stranger\0", b"user")
    change(old, USERS[0], None)
    sync.step()
    with pytest.raises(EverwatchError, match="80 instead of 79 entries"):
        sync.prove()


def test_a_record_on_another_partition_is_not_taken_for_a_copy(old: FakeTopics, new: FakeTopics) -> None:
    new.add(NAME, (PLACE(USERS[0]) + 1) % NEW, USERS[0] + b"\0", b"user")
    with pytest.raises(EverwatchError, match="holds a record of another partition"):
        sync_of(old, new).step()


class EmptyingAdmin:
    """Deletes records of topics in memory."""

    def __init__(self, topics: FakeTopics) -> None:
        self._topics = topics
        self._names = {topic: name for name, topic in topics.names.items()}

    def delete_records(self, places: list[TopicPartition], **_: object) -> dict[TopicPartition, Future[None]]:
        done: Future[None] = Future()
        done.set_result(None)
        for place in places:
            del self._topics.records[self._names[place.topic], place.partition][: place.offset]
        return dict.fromkeys(places, done)


def copy_of(old: FakeTopics, new: FakeTopics) -> TailCopy:
    source, target = cast(SourceTopics, old), cast(SourceTopics, new)
    admin, writer = cast(Admin, EmptyingAdmin(new)), cast(TopicWriter, FakeWriter(new))
    return TailCopy(source, target, admin, NewPlaces(PLACE, NEW), writer, Silent())


def all_of(old: FakeTopics) -> UnreadRecords:
    return UnreadRecords({name: old.bounds(name) for name in (*INPUTS, *old.ticks, *OUTPUTS)})


# --- what is not consumed -------------------------------------------------------------------------------------------


def test_what_is_not_consumed_is_copied_in_the_order_of_each_user(old: FakeTopics, new: FakeTopics) -> None:
    old.add("signups", 0, b"read", b"already")
    for number in range(3):
        old.add("signups", 0, USERS[0], b"%d" % number)
    old.add("commands", 3, None, b"without a key")
    # a tick has its instant as timestamp
    old.add("ticks", 1, USERS[1], b"tick", at=1_000)
    wanted: dict[str, Any] = {name: old.bounds(name) for name in (*INPUTS, *old.ticks, *OUTPUTS)}
    wanted["signups"][0] = range(1, 4)
    counts = copy_of(old, new).copy(UnreadRecords(wanted))
    assert [record.value for record in new.records["signups", PLACE(USERS[0])]] == [b"0", b"1", b"2"]
    assert [record.value for record in new.records["commands", 3]] == [b"without a key"]
    assert new.records["ticks", PLACE(USERS[1])][0].timestamp_ms == 1_000
    assert counts["signups"] == 3


def test_requests_about_incidents_that_no_notifier_has_read_are_copied(old: FakeTopics, new: FakeTopics) -> None:
    old.add("incidents", 2, USERS[0], b"ack")
    copy_of(old, new).copy(all_of(old))
    assert [record.value for record in new.records["incidents", PLACE(USERS[0])]] == [b"ack"]


def test_an_input_of_an_interrupted_copy_is_there_once(old: FakeTopics, new: FakeTopics) -> None:
    old.add("commands", 0, USERS[0], b"paused, and resumed since", headers=((PLACE_HEADER, b"7:7"), ("trace", b"1")))
    old.add("commands", 0, USERS[0], b"waits")
    for number in range(2):
        old.add("commands", 1, USERS[1], b"too large" * LARGEST_INPUT_BYTES * number)
    copy_of(old, new).copy(all_of(old))
    held = [record for number in range(NEW) for record in new.records["commands", number]]
    assert [record.headers for record in held if record.key == USERS[0]] == [
        (("trace", b"1"), (PLACE_HEADER, b"0:0")),
        ((PLACE_HEADER, b"0:1"),),
    ]
    # undone, gone on with, and begun again
    wanted = all_of(old).wanted
    wanted["commands"][0] = range(1, 2)
    copy_of(old, new).copy(UnreadRecords(wanted))
    assert [r.value for r in new.records["commands", PLACE(USERS[0])] if r.key == USERS[0]] == [b"waits"]


def test_an_input_of_a_producer_that_moved_too_early_stays(old: FakeTopics, new: FakeTopics) -> None:
    old.add("signups", 0, USERS[0], b"first")
    copy_of(old, new).copy(all_of(old))
    new.add("signups", PLACE(USERS[0]), USERS[0], b"early")
    old.add("signups", 0, USERS[0], b"second")
    copy_of(old, new).copy(all_of(old))
    values = [record.value for record in new.records["signups", PLACE(USERS[0])]]
    assert values == [b"first", b"early", b"second"]
    wanted = all_of(old).wanted
    wanted["signups"][0] = range(1, 2)
    with pytest.raises(EverwatchError, match="holds 1 records of an interrupted copy that have been consumed"):
        copy_of(old, new).copy(UnreadRecords(wanted))


# --- the notifier ---------------------------------------------------------------------------------------------------


def test_alerts_that_wait_move_to_the_partitions_of_their_users(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert move_notifier(settings, PLACE) == 0  # no database yet
    open_for_writing(settings.database_url).dispose()
    assert move_notifier(settings, PLACE) == 0  # no notifier
    open_storage(settings)
    engine = open_for_writing(database_url_of(settings), SCHEMA)
    users = [user.decode() for user in USERS[:8]]
    with engine.begin() as connection:
        for number, user in enumerate(users):
            event = {"event_id": user, "partition": 9, "position": 100 + number, "user_id": user, "monitor_id": "site"}
            times = {"at": 1, "taken_at": 1, "judge_at": 1, "verdict": "", "document": "{}"}
            connection.execute(insert(alert_events).values(**event, **times))
            incident = {"user_id": user, "monitor_id": "site", "partition": 9, "phase": "open", "settles_at": 0}
            connection.execute(insert(incidents).values(**incident, document="{}"))
    for _ in range(2):
        assert move_notifier(settings, PLACE) == len(users)
        with engine.connect() as connection:
            c = alert_events.c
            events = connection.execute(select(c.user_id, c.partition, c.position).order_by(c.position)).all()
            placed = connection.execute(select(incidents.c.user_id, incidents.c.partition)).all()
        # in their order, and before every offset of the new topics
        assert [tuple(row) for row in events] == [
            (user, PLACE(user.encode()), number - len(users)) for number, user in enumerate(users)
        ]
        assert dict(map(tuple, placed)) == {user: PLACE(user.encode()) for user in users}
    engine.dispose()


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--partitions N"),
        (["--undo", "--forward"], "each stand alone"),
        (["--undo", "--partitions", "9"], "each stand alone"),
        (["--partitions", "0"], "partitions"),
        (["--partitions", "9", "--prefix", "ä."], "topic_prefix"),
    ],
)
def test_what_cannot_be_is_refused_before_a_broker_is_looked_for(arguments: list[str], said: str) -> None:
    outcome = CliRunner().invoke(app, ["repartition", *arguments])
    assert isinstance(outcome.exception, EverwatchError)
    assert outcome.exception.exit_code == 2
    assert said in str(outcome.exception) or said.upper() in str(outcome.exception)
