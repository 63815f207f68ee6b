"""Dead letters and replies as the sink takes them: no letter is refused, and no secret is stored."""

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.schema_registry import own_schemas

from everwatch.core.bounds import BROKER_AHEAD_MS, LATEST_MS
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, registered_schemas
from everwatch.encoding.codec import encode_audit_entry, encode_reply, table_key
from everwatch.kafka.consumed_record import Headers, Record
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.topics import Topics
from everwatch.model import AuditEntry, CommandOutcome, Reply
from everwatch.sink.batch_builder import build_batch
from everwatch.sink.letter_builder import letter_of
from everwatch.store.letters import MOST_KEPT, Redrive, StoredLetter
from everwatch.store.purged_users import AskedPurge, key_of_purge

TOPICS = Topics.of(Settings(topic_prefix="t."))
AT = 1_795_262_400_000
HEADERS = {
    "reason": "there is no plan 'gold'; there are 3",
    "path": "$.plan",
    "code": "unknown_plan",
    "source_topic": "t.signups",
    "source_partition": "2",
    "source_offset": "41",
    "source_timestamp": str(AT - 1_000),
    "refused_at": str(AT),
    "refused_by": "worker",
}
MONITOR = {"kind": "http", "config": {"url": "ftp://x", "bearer": "sesame"}}


@pytest.fixture(autouse=True, scope="module")
def registry() -> Iterator[None]:
    """Confluent wire format can be written and read."""
    registered_schemas.use(own_schemas())
    yield
    registered_schemas.use(None)


def record(value: bytes | None, key: bytes | None = b"anna", timestamp: int = AT + 5, **headers: str) -> Record:
    said: Headers = tuple((name, text.encode()) for name, text in (HEADERS | headers).items())
    return Record(TOPICS.dead_letters, 2, 7, timestamp, key, value, said)


def stored(*given: Any, **more: Any) -> StoredLetter:
    letter = letter_of(record(*given, **more), TOPICS)
    assert isinstance(letter, StoredLetter)
    return letter


def test_a_letter_says_what_was_refused_why_and_where_it_came_from() -> None:
    value = {"user_id": "anna", "plan": "gold"}
    assert stored(orjson.dumps(value)) == StoredLetter(
        partition=2, offset=7, refused_at=AT, reason="there is no plan 'gold'; there are 3",
        alike="there is no plan '…'; there are N", path="$.plan", code="unknown_plan", refused_by="worker",
        source_topic="t.signups", source_partition=2, source_offset=41, source_ms=AT - 1_000, user_id="anna",
        key="anna", encoding="json", value='{"user_id":"anna","plan":"gold"}', problem="",
    )  # fmt: skip


def test_what_the_writer_of_dead_letters_writes_is_what_is_stored() -> None:
    sent: list[dict[str, Any]] = []

    class Box:
        def send(self, topic: str, **given: Any) -> None:
            sent.append(given)

    box: Any = Box()
    refused = Record(TOPICS.signals, 3, 9, AT - 7, b"bea", b'{"user_id":"bea"}')
    DeadLetters(box, TOPICS, SettableClock(AT), "worker").put(refused, InvalidInput("no monitor 'm'", "$.monitor_id"))
    [given] = sent
    letter = letter_of(
        Record(TOPICS.dead_letters, 3, 0, AT, given["key"], given["value"], tuple(given["headers"])), TOPICS
    )
    assert isinstance(letter, StoredLetter)
    assert (letter.source_topic, letter.source_offset, letter.source_ms, letter.refused_at) == (
        "t.signals",
        9,
        AT - 7,
        AT,
    )
    assert (letter.user_id, letter.value, letter.path) == ("bea", '{"user_id":"bea"}', "$.monitor_id")


SECRETS = {
    "a monitor": {"user_id": "anna", "monitors": [MONITOR]},
    "of an unknown kind": {"monitor": {"kind": "htpt", "config": {"x": "sesame"}}},
    "under a wrong name": {
        "monitors": [{"kind": "http", "config": {"url": "x", "basic_authh": {"password": "sesame"}}}]
    },
    "monitors that are no list": {"monitors": {"kind": "http", "config": {"bearer": "sesame"}}},
    "beside the config": {"monitors": [{"kind": "http", "secret_headers": {"X": ["sesame"]}}]},
    "an attribute": {"attributes": {"apiToken": "sesame"}},
    "a key": {"monitor": {"kind": "noop", "x": {"y": "-----BEGIN RSA PRIVATE KEY-----\nsesame"}}},
}


@pytest.mark.parametrize("document", SECRETS.values(), ids=SECRETS)
def test_no_secret_is_stored(document: dict[str, Any]) -> None:
    letter = stored(orjson.dumps(document))
    assert "sesame" not in repr(letter)
    assert '{"$redacted":true}' in letter.value
    broken = stored(orjson.dumps(document)[:-1])
    assert broken.encoding == "text"
    # a text has no names that tell which kind is known
    assert "sesame" not in broken.value or "htpt" in broken.value


def test_a_secret_in_avro_or_in_a_key_is_not_stored() -> None:
    monitor = {"kind": "http", "config": orjson.dumps(MONITOR["config"]).decode()}
    letter = stored(avro_schemas.encode("signup", {"user_id": "anna", "plan": "gold", "monitors": [monitor]}))
    assert letter.encoding == "avro"
    assert "sesame" not in letter.value
    assert orjson.loads(letter.value)["plan"] == "gold"
    for key in (b'{"password": "sesame"}', b"password=sesame" + b"x" * 300):
        letter = stored(b"{}", key)
        assert ("sesame" not in letter.key, letter.user_id) == (True, "")


@pytest.mark.parametrize(
    ("value", "encoding", "whole"),
    [
        (b'{"x":"' + b"y" * MOST_KEPT + b'"}', "json", False),
        (b"z" * (MOST_KEPT + 1), "text", False),
        ("ö".encode() * MOST_KEPT, "text", False),
        (b"\xff" * MOST_KEPT, "binary", False),
        (b"z" * MOST_KEPT, "text", True),
        (b"7", "json", True),
        (b"", "empty", True),
        (None, "empty", True),
        (b"[" * 900 + b"]" * 900, "text", True),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "text", True),
    ],
)
def test_four_kib_of_a_value_are_kept(value: bytes | None, encoding: str, whole: bool) -> None:
    letter = stored(value)
    assert (letter.encoding, letter.cut) == (encoding, () if whole else ("value",))
    assert len(letter.value.encode()) <= MOST_KEPT
    assert bool(letter.value) == bool(value)


def test_what_the_topic_does_not_hold_whole_is_said_to_be_cut() -> None:
    letter = stored(b"part", b"k" * 500_000, cut="key,value,more")
    assert (letter.cut, letter.user_id) == (("key", "value"), "")
    assert MOST_KEPT - 3 <= len(letter.key) <= MOST_KEPT


@pytest.mark.parametrize(
    ("key", "user_id"),
    [
        (b"anna", "anna"),
        (table_key("anna", "shop"), "anna"),
        (None, ""),
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"x" * 257, ""),
        (b"__everwatch", ""),
        (b"a\nb", ""),
    ],
)
def test_a_letter_is_the_users_whom_its_key_names(key: bytes | None, user_id: str) -> None:
    assert stored(b"{}", key).user_id == user_id


@pytest.mark.parametrize(
    ("timestamp", "header", "refused_at"),
    [
        (AT + 5, str(AT), AT),
        (AT + 5, "", AT + 5),
        (AT + 5, "soon", AT + 5),
        (AT, str(AT + BROKER_AHEAD_MS + 1), AT),
        (AT, "9" * 19, AT),
        (-1, "0", 0),
        (2**62, "5", 5),
        (2**62, "", LATEST_MS),
    ],
)
def test_the_instant_is_one_that_can_be_and_the_same_each_time_it_is_read(
    timestamp: int, header: str, refused_at: int
) -> None:
    assert stored(b"{}", timestamp=timestamp, refused_at=header).refused_at == refused_at


def test_a_note_says_where_a_letter_went_and_one_that_names_none_is_passed_over() -> None:
    note = {"redrive_of": "3", "redriven_to": "t.signups/2/50", "redriven_at": str(AT)}
    assert letter_of(record(None, **note), TOPICS) == Redrive(2, 3, AT, "t.signups/2/50")
    assert letter_of(record(None, **note | {"redrive_of": "x"}), TOPICS) is None
    assert letter_of(record(None, **note | {"redrive_of": "9" * 19}), TOPICS) is None
    assert letter_of(record(None, **note | {"redriven_at": "", "redriven_to": "?"}), TOPICS) == Redrive(
        2, 3, AT + 5, ""
    )


BYTES = (
    st.none() | st.binary(max_size=50) | st.sampled_from([b"{", b"[[", b'{"monitors": [1]}', b"\xc3\x01" + b"x" * 12])
)
NAMES = st.sampled_from([*HEADERS, "cut", "redrive_of", "redriven_to", "redriven_at", "other"])


@given(BYTES, BYTES, st.integers(-1, 2**63 - 1), st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=30))))
def test_no_record_of_the_topic_is_refused(
    key: bytes | None, value: bytes | None, timestamp: int, headers: list[tuple[str, bytes | None]]
) -> None:
    """A letter about it would be refused too, and so would that one's."""
    strange = Record(TOPICS.dead_letters, 0, 7, timestamp, key, value, tuple(headers))
    batch, refused = build_batch([strange], TOPICS, AT)
    assert refused == []
    for received in batch.letters:
        # bounds hold, or a database would refuse it
        value = received.value
        assert msgspec.convert(msgspec.to_builtins(value), type=type(value)) == value


def reply(**fields: Any) -> Reply:
    usual: dict[str, Any] = {
        "command_id": "c-1", "user_id": "anna", "monitor_id": "shop", "command": "pause", "answer": CommandOutcome.DONE,
        "reason": "", "path": "", "version": 3, "at": AT,
    }  # fmt: skip
    return Reply(**usual | fields)


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_replies_are_read_in_either_encoding_and_that_to_a_purge_is_a_purge(output_format: OutputFormat) -> None:
    replies = [reply(), reply(command="purge", version=0, partition=1, offset=41), reply(at=AT + 2 * BROKER_AHEAD_MS)]
    records = [
        Record(TOPICS.replies, 1, number, AT, b"anna", encode_reply(one, output_format))
        for number, one in enumerate(replies)
    ]
    batch, refused = build_batch([*records, Record(TOPICS.replies, 1, 3, AT, b"anna", b"no reply")], TOPICS, AT)
    assert [(each.offset, each.value) for each in batch.replies] == [(0, replies[0])]
    assert [each.record.offset for each in refused] == [2, 3]
    assert list(batch.offsets.values()) == [4]
    [asked] = batch.purges
    assert (asked.offset, asked.value) == (1, AskedPurge(key_of_purge("anna", "c-1"), "anna", AT, 1, 42, True))


def test_of_purges_those_that_a_worker_did_not_carry_out_are_none_and_one_without_a_user_says_so() -> None:
    answers = [CommandOutcome.REFUSED, CommandOutcome.UNCHANGED, CommandOutcome.REPEATED]
    records = [
        Record(TOPICS.replies, 1, number, AT, b"anna", encode_reply(one, OutputFormat.JSON))
        for number, one in enumerate(reply(command="purge", answer=answer, version=0) for answer in answers)
    ]
    batch, _ = build_batch(records, TOPICS, AT)
    assert [(each.offset, each.value.was_watched, each.value.deletion) for each in batch.purges] == [(1, False, 0)]


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_changes_over_http_are_read_in_either_encoding_and_of_a_purge_not_the_user(output_format: OutputFormat) -> None:
    def entry(number: int, **more: Any) -> AuditEntry:
        given = {"at": AT, "command": "pause", "user_id": "anna", "status": 200} | more
        names = ("token_id", "token_name", "role", "address", "forwarded_for", "monitor_id", "outcome", "command_id")
        plain = dict.fromkeys((*names, "request_id"), "x")
        return AuditEntry(entry_id=f"e-{number}", route="POST /v1/batch", **plain | given)

    entries = [entry(0), entry(1, command="purge"), entry(2, at=AT + 2 * BROKER_AHEAD_MS), entry(3, user_id="a\0")]
    records = [
        Record(TOPICS.audit, 1, number, AT, b"anna", encode_audit_entry(one, output_format))
        for number, one in enumerate(entries)
    ]
    batch, refused = build_batch(records, TOPICS, AT)
    purge = msgspec.structs.replace(entries[1], user_id="", command_id="", request_id="")
    assert [each.value for each in batch.audit] == [entries[0], purge]
    assert [each.record.offset for each in refused] == [2, 3]


def test_a_record_in_confluent_wire_format_is_stored_as_the_document_that_it_is() -> None:
    signup = {"user_id": "anna", "plan": "gold", "monitors": [{"config": '{"url":"https://a.example/"}'}]}
    letter = stored(registered_schemas.wrapped("signup", avro_schemas.encode("signup", signup)))
    document = orjson.loads(letter.value)
    assert (letter.encoding, letter.problem, document["plan"]) == ("confluent", "", "gold")
    assert document["monitors"][0]["config"] == {"url": "https://a.example/"}
    unknown = stored(b"\0\0\0\0\x63\x02u")
    assert (unknown.encoding, "no schema 99" in unknown.problem) == ("confluent", True)
