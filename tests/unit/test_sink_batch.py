"""Tests of what the sink makes of records, without Kafka and without a database."""

from collections.abc import Iterator

import msgspec
import pytest
from support.schema_registry import own_schemas

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.config import Settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import registered_schemas
from everwatch.encoding.codec import commands_key, encode_entry, encode_result, encode_transition, table_key
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import Every, Monitor, MonitorSpec, Origin, Result, State, Status, Transition, User
from everwatch.sink.batch_builder import build_batch
from everwatch.store import CatalogueEntry, Partition

TOPICS = Topics.of(Settings(topic_prefix="t."))
RESULT = Result("anna", "shop", 60_000, "http", 1, Status.FAILURE, "timed out", 60_004, 10_000.5, timings={"dns": 1.5})
TRANSITION = Transition("anna", "shop", 60_000, State.UP, State.DOWN, "timed out", 1)
USER = User("anna", "pro", {"age": 30}, ("shop",), 1, 2)
MONITOR = Monitor("anna", MonitorSpec("shop", "http", "{}", Every(60_000)), Origin.SIGNUP, 1, 5)


@pytest.fixture(autouse=True, scope="module")
def registry() -> Iterator[None]:
    """Confluent wire format can be written and read."""
    registered_schemas.use(own_schemas())
    yield
    registered_schemas.use(None)


def record(
    topic: str, value: bytes | None, *, key: bytes | None = b"anna", partition: int = 2, offset: int = 7
) -> Record:
    return Record(topic, partition, offset, 1_234, key, value)


def json_result(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.asdict(RESULT) | changes)


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_results_and_transitions_are_read_in_either_encoding(output_format: OutputFormat) -> None:
    batch, refused = build_batch(
        [
            record(TOPICS.results, encode_result(RESULT, output_format), offset=7),
            record(TOPICS.transitions, encode_transition(TRANSITION, output_format), offset=8),
        ],
        TOPICS,
        stored_at=99,
    )
    assert refused == []
    assert [(r.source, r.offset, r.timestamp, r.value) for r in batch.results] == [
        (Partition("t.results", 2), 7, 1_234, RESULT)
    ]
    assert [r.value for r in batch.transitions] == [TRANSITION]
    assert batch.stored_at == 99


def test_the_changelog_tells_users_monitors_and_deletions() -> None:
    batch, refused = build_batch(
        [
            record(TOPICS.monitors_changelog, encode_entry(USER), key=table_key("anna")),
            record(TOPICS.monitors_changelog, encode_entry(MONITOR), key=table_key("anna", "shop")),
            record(TOPICS.monitors_changelog, None, key=table_key("anna", "shop")),
            record(TOPICS.monitors_changelog, None, key=table_key("anna")),
        ],
        TOPICS,
        stored_at=99,
    )
    assert refused == []
    assert [r.value for r in batch.entries] == [
        CatalogueEntry("anna", "", USER),
        CatalogueEntry("anna", "shop", MONITOR),
        CatalogueEntry("anna", "shop", None),
        CatalogueEntry("anna", "", None),
    ]


def test_what_is_remembered_of_commands_is_passed_over() -> None:
    batch, refused = build_batch(
        [
            record(TOPICS.monitors_changelog, b"any bytes", key=commands_key("anna"), offset=7),
            record(TOPICS.monitors_changelog, None, key=commands_key("anna"), offset=8),
        ],
        TOPICS,
        stored_at=99,
    )
    assert (batch.entries, refused) == ([], [])
    assert batch.offsets == {Partition("t.everwatch-monitors-changelog", 2): 9}


def test_offsets_lie_behind_the_last_record_of_each_partition() -> None:
    value = encode_result(RESULT, OutputFormat.AVRO)
    batch, _ = build_batch(
        [
            record(TOPICS.results, value, partition=0, offset=4),
            record(TOPICS.results, value, partition=1, offset=9),
            record(TOPICS.results, value, partition=0, offset=6),
        ],
        TOPICS,
        stored_at=99,
    )
    assert batch.offsets == {Partition("t.results", 0): 7, Partition("t.results", 1): 10}


@pytest.mark.parametrize(
    ("topic", "key", "value", "reason"),
    [
        (TOPICS.results, b"anna", b"no result", "JSON"),
        (TOPICS.results, b"anna", None, "empty"),
        (TOPICS.results, b"anna", json_result(scheduled_at=2**64), "at most 253402300799999"),
        (
            TOPICS.results,
            b"anna",
            encode_result(msgspec.structs.replace(RESULT, duration_ms=float("nan")), OutputFormat.AVRO),
            "at least 0",
        ),
        (
            TOPICS.results,
            b"anna",
            encode_result(msgspec.structs.replace(RESULT, timings={"dns": float("inf")}), OutputFormat.AVRO),
            "finite",
        ),
        (TOPICS.results, b"anna", json_result(user_id="__everwatch", monitor_id="written__"), "__everwatch"),
        (TOPICS.results, b"anna", json_result(monitor_id="\x01commands"), "control"),
        (TOPICS.results, b"anna", json_result(monitor_id="m" * 129), "at most 128"),
        (TOPICS.results, b"anna", json_result(duration_ms=1e300), "at most"),
        (TOPICS.results, b"anna", json_result(started_at=2**62), "at most"),
        (TOPICS.results, b"anna", json_result(version=-1), "at least 0"),
        (TOPICS.results, b"anna", json_result(scheduled_at=99 + BROKER_AHEAD_MS + 1), "from the future"),
        (TOPICS.results, b"anna", json_result(detail="x" * 300_000), "at most"),
        # a field that is not known is ignored, but what is no text is no JSON
        (TOPICS.results, b"anna", json_result().replace(b'{"', b'{"extr\xe4": 1, "', 1), "utf-8"),
        (TOPICS.transitions, b"anna", b"{}", ""),
        (TOPICS.transitions, b"anna", None, "empty"),
        (TOPICS.monitors_changelog, None, encode_entry(USER), "no key"),
        (TOPICS.monitors_changelog, b"\xff\xfe", None, "monitors table"),
        (TOPICS.monitors_changelog, table_key("anna", "shop"), b"garbage", ""),
    ],
)
def test_a_poison_record_is_refused_and_the_records_around_it_are_kept(
    topic: str, key: bytes | None, value: bytes | None, reason: str
) -> None:
    good = encode_result(RESULT, OutputFormat.AVRO)
    poison = record(topic, value, key=key, offset=8)
    batch, refused = build_batch(
        [record(TOPICS.results, good, offset=7), poison, record(TOPICS.results, good, offset=9)], TOPICS, stored_at=99
    )
    assert [r.offset for r in batch.results] == [7, 9]
    assert batch.transitions == [] and batch.entries == []
    [(refused_record, error)] = refused
    assert refused_record == poison
    assert reason in error.reason


def test_a_refused_record_is_passed_by_the_offsets() -> None:
    batch, refused = build_batch([record(TOPICS.results, b"no result", offset=3)], TOPICS, stored_at=99)
    assert len(refused) == 1
    assert batch.offsets == {Partition("t.results", 2): 4}
