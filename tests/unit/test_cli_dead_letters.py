"""Dead letters: decoded with the wrong field marked, chosen by filters, redriven once and never in part.

All in one file: one topic of letters, which all commands read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from support.new_databases import open_new_store
from typer.testing import CliRunner

from everwatch.cli.commands import dead_letters
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings, load_settings
from everwatch.core.errors import AccessError, BrokerUnavailable, EverwatchError, RecordsUnreadable
from everwatch.encoding import avro_schemas
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_content import decoded
from everwatch.kafka.dead_letter_reader import DeadLetterTopic
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven, SourcePosition, place_of
from everwatch.kafka.memory import LogEntry, MemoryClients, MemoryKafka, SentRecord
from everwatch.kafka.redrive import History, Redriver
from everwatch.kafka.topics import Topics
from everwatch.operations.dead_letter_view import shown
from everwatch.sink.batch_builder import build_batch

TOPICS = Topics.of(load_settings())
AT = 1_795_262_400_000
SIGNUP = {"user_id": "u", "plan": "gold", "monitors": [{"kind": "http", "config": {"url": "ftp://x"}}]}
URL = "$.monitors[0].config.url"


# --- decoded and marked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "marked"),
    [
        (URL, '"url": "ftp://x"'),
        ("$.monitors[0].config.body.more", '"config": {'),
        ("$.attributes.site", "{"),
        ("$.plan", '"plan": "gold",'),
        ("$.plane", "{"),
        ("$.monitors[1].kind", '"monitors": ['),
        ("$", "{"),
    ],
)
def test_the_line_of_the_wrong_field_is_marked_or_of_what_it_is_missing_in(path: str, marked: str) -> None:
    lines = shown(SIGNUP, path, "no good")
    [line] = [line for line in lines if line.mark]
    assert (line.text.strip(), line.mark) == (marked, "no good")
    assert orjson.loads("\n".join(line.text for line in lines)) == SIGNUP


def test_without_a_path_nothing_is_marked() -> None:
    assert {line.mark for line in shown(SIGNUP, "", "no good")} == {""}


def test_odd_keys_and_long_texts_are_shown_and_found() -> None:
    value = {"attributes": {"a b": "x", "long": "y" * 10_000}, "empty": {}, "none": None}
    lines = shown(value, '$.attributes["a b"]', "no")
    assert [line.text.strip() for line in lines if line.mark] == ['"a b": "x",']
    assert max(len(line.text) for line in lines) < 2_100


def test_avro_is_decoded_with_the_documents_inside_it() -> None:
    monitor = {"kind": "http", "config": '{"url": "ftp://x"}'}
    data = avro_schemas.encode("signup", {"user_id": "u", "plan": "gold", "monitors": [monitor]})
    found = decoded("signup", data)
    assert (found.encoding, found.problem) == ("avro", "")
    [line] = [line for line in shown(found.value, URL, "no") if line.mark]
    assert line.text.strip() == '"url": "ftp://x"'
    assert decoded("signup", data[:-3]).problem.startswith("the Avro body does not hold a signup")


@pytest.mark.parametrize(
    ("data", "encoding", "value"),
    [
        (None, "empty", None),
        (b"", "empty", None),
        (b'{"user_id": ', "text", '{"user_id": '),
        (b"\xff\xfe", "binary", "ff fe"),
        (b"7", "json", 7),
    ],
)
def test_what_is_no_document_is_shown_as_it_is(data: bytes | None, encoding: str, value: object) -> None:
    found = decoded("signup", data)
    assert (found.encoding, found.value) == (encoding, value)


# --- what may be redriven ---------------------------------------------------------------------------------------------


def letter(offset: int = 0, **fields: Any) -> DeadLetter:
    usual: dict[str, Any] = {
        "place": SourcePosition(TOPICS.dead_letters, 3, offset),
        "refused_at": AT + offset,
        "reason": "there is no plan 'gold'",
        "path": "$.plan",
        "code": "unknown_plan",
        "refused_by": "worker",
        "source": SourcePosition(TOPICS.signups, 3, 40 + offset),
        "source_ms": AT - 1_000,
        "key": b"u",
        "value": orjson.dumps(SIGNUP),
    }
    return DeadLetter(**usual | fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ""),
        ({"cut": ("value",), "lengths": {"value": 900_000}}, "it was kept in part only, its value ("),
        ({"source": None}, "its headers do not say where it came from."),
        ({"source": SourcePosition("orders", 0, 1)}, "it came from orders, which is no topic that Everwatch reads."),
        ({"source": SourcePosition(TOPICS.ticks, 0, 1), "source_ms": 0}, "a tick is due at its record's timestamp"),
        ({"source": SourcePosition(TOPICS.ticks, 0, 1)}, ""),
    ],
)
def test_what_cannot_be_sent_back_is_objected_to_in_one_sentence(fields: dict[str, Any], told: str) -> None:
    objection = History(TOPICS).objection(letter(**fields), again=True)
    assert objection.startswith(told)
    assert bool(objection) == bool(told)
    assert objection.count(". ") == 0


def test_what_was_redriven_and_what_came_of_that_is_left_out_unless_asked_for_again() -> None:
    history = History(TOPICS)
    history.note(Redriven(letter(0).place, SourcePosition(TOPICS.signups, 3, 99), AT))
    assert "was redriven at 2026-11-21" in history.objection(letter(0), again=False)
    came_of_it = letter(1, source=SourcePosition(TOPICS.signups, 3, 99))
    assert "came of a redrive and was refused again" in history.objection(came_of_it, again=False)
    assert history.objection(letter(2), again=False) == ""
    assert history.objection(letter(0), again=True) == history.objection(came_of_it, again=True) == ""


class Broker:
    """Topics of which partition 3 is in use."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka(4, SettableClock(AT))
        self.clients = MemoryClients(self.kafka)
        self.kafka.create(TOPICS.dead_letters)

    def refuse(self, **fields: Any) -> None:
        """Have the worker refuse a signup: a dead letter as it is written."""
        made = letter(len(self.records(TOPICS.dead_letters)), **fields)
        assert made.source is not None
        headers = {
            "reason": made.reason, "path": made.path, "code": made.code, "refused_by": "worker",
            "refused_at": str(made.refused_at), "source_topic": made.source.topic,
            "source_partition": str(made.source.partition), "source_offset": str(made.source.offset),
            "source_timestamp": str(made.source_ms),
        }  # fmt: skip
        if made.cut:
            headers |= {"cut": ",".join(made.cut), "value_length": str(made.lengths["value"])}
        encoded = [(name, text.encode()) for name, text in headers.items()]
        self.kafka.append(SentRecord(TOPICS.dead_letters, 3, made.key, made.value, made.refused_at, encoded))

    def records(self, topic: str) -> list[LogEntry]:
        return self.kafka.records(topic) if topic in self.kafka.topic_names() else []

    def opened(self) -> DeadLetterTopic:
        return DeadLetterTopic(Settings(), self.clients, self.kafka.clock)

    def redriver(self) -> Redriver:
        return Redriver(self.clients.producer(), TOPICS, SettableClock(AT + 5))


def test_the_original_bytes_go_back_with_their_time_and_a_note_stays() -> None:
    broker = Broker()
    [sent] = broker.redriver().send([letter(0)])
    assert sent.to == SourcePosition(TOPICS.signups, 3, 0)
    [back] = broker.records(TOPICS.signups)
    assert (back.key, back.value, back.timestamp_ms) == (b"u", orjson.dumps(SIGNUP), AT - 1_000)
    assert back.headers == [("redriven_from", b"dead-letters/3/0")]
    assert list(broker.opened().read()) == [Redriven(letter(0).place, sent.to, AT + 5)]


def test_what_the_broker_does_not_take_is_told_and_has_no_note() -> None:
    broker = Broker()
    broker.kafka.loses = lambda sent: sent.topic == TOPICS.signups
    with pytest.raises(BrokerUnavailable, match="Dead letter dead-letters/3/0 could not be sent to signups"):
        broker.redriver().send([letter(0)])
    assert broker.records(TOPICS.dead_letters) == []


@pytest.mark.parametrize("text", ["", "3", "a/b", "3/x", "-1/2", "3/99999999999999999999"])
def test_what_names_no_place_is_none(text: str) -> None:
    assert place_of(f"t/{text}") is None


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Broker]:
    made = Broker()
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    made.refuse()
    made.refuse(key=b"bob", reason="there is no plan 'silver'")
    made.refuse(
        source=SourcePosition(TOPICS.signals, 3, 7), reason="there is no monitor 'm'", code="not_found",
        path="$.monitor_id", value=b'{"user_id": "u", "monitor_id": "m"}',
    )  # fmt: skip
    made.refuse(cut=("value",), lengths={"value": 9_000_000}, reason="too long", code="invalid", path="")
    with commands_given(new_clients=lambda _: made.clients):
        yield made


def say(*arguments: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(dead_letters.app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})
    if isinstance(found.exception, EverwatchError):
        return found.exception.exit_code, found.stdout, str(found.exception)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, found.stdout, found.stderr


def listed(*arguments: str) -> list[str]:
    status, out, _ = say("list", *arguments, "--json")
    assert status == 0
    return [orjson.loads(line)["letter"] for line in out.splitlines()]


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("arguments", "letters"),
    [
        ((), ["3/0", "3/1", "3/2", "3/3"]),
        (("--limit", "1"), ["3/3"]),
        (("--source", "signals"), ["3/2"]),
        (("--user", "bob"), ["3/1"]),
        (("--reason", "NO PLAN"), ["3/0", "3/1"]),
        (("--code", "not_found"), ["3/2"]),
        (("--code", "not_found", "--user", "bob"), []),
        (("--since", "2026-11-21T12:00:00.002Z"), ["3/2", "3/3"]),
    ],
)
def test_dead_letters_are_listed_by_source_user_reason_code_and_age(
    arguments: tuple[str, ...], letters: list[str]
) -> None:
    assert listed(*arguments) == letters


@pytest.mark.usefixtures("broker")
def test_a_list_says_when_where_from_whose_and_why() -> None:
    _, out, _ = say("list", "--code", "not_found")
    assert out.split() == [
        "2026-11-21", "12:00:00.002Z", "3/2", "signals", "u", "there", "is", "no", "monitor", "'m'", "(at",
        "$.monitor_id)",
    ]  # fmt: skip


@pytest.mark.usefixtures("broker")
def test_one_is_shown_with_its_wrong_field_marked() -> None:
    status, out, _ = say("show", "3/0")
    assert status == 0
    assert '  "plan": "gold",   <-- there is no plan \'gold\'\n' in out
    assert "from      signups/3/40\n" in out
    told = orjson.loads(say("show", "3/0", "--json")[1])
    assert (told["value"], told["encoding"], told["path"]) == (SIGNUP, "json", "$.plan")


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("show", "3/99"), 1, "There is no dead letter 3/99: give the PARTITION/OFFSET that"),
        (("show", "three"), 2, "'three' names no dead letter: give the PARTITION/OFFSET that"),
        (("redrive",), 2, "Say which dead letters: LETTER, a filter such as --code unknown_plan, or --all."),
        (("list", "--since", "soon"), 2, "--since: 'soon' is neither an instant such as"),
        (("redrive", "3/99"), 1, "3/99: there is no such dead letter."),
    ],
)
def test_what_names_none_is_told(arguments: tuple[str, ...], status: int, told: str) -> None:
    found = say(*arguments)
    assert (found[0], found[2].startswith(told)) == (status, True), found


@pytest.mark.usefixtures("broker")
def test_they_are_counted_by_reason_whatever_that_quotes() -> None:
    counts = orjson.loads(say("count", "--json")[1])
    assert [(each["count"], each["source"], each["reason"]) for each in counts] == [
        (2, "signups", "there is no plan '…'"),
        (1, "signals", "there is no monitor '…'"),
        (1, "signups", "too long"),
    ]


@pytest.fixture
def stored(broker: Broker, tmp_path: Path) -> Broker:
    """A broker whose topic the sink has stored, and which has lost most of it since."""
    records = [
        Record(TOPICS.dead_letters, 3, offset, each.timestamp_ms, each.key, each.value, tuple(each.headers))
        for offset, each in enumerate(broker.records(TOPICS.dead_letters))
    ]
    batch, refused = build_batch(records, TOPICS, AT)
    assert not refused
    store = open_new_store(Settings(data_dir=tmp_path))
    store.apply(batch)
    store.close()
    return broker


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--source", "signals"),
        ("--user", "bob"),
        ("--reason", "NO PLAN"),
        ("--code", "not_found"),
        ("--code", "not_found", "--user", "bob"),
        ("--since", "2026-11-21T12:00:00.002Z"),
    ],
)
def test_the_database_lists_and_counts_what_the_topic_does(arguments: tuple[str, ...]) -> None:
    for command in ("list", "count"):
        assert say(command, *arguments) == say(command, *arguments, "--from", "topic")
    there, here = (
        [orjson.loads(line) for line in say("list", *arguments, "--json", "--from", source)[1].splitlines()]
        for source in ("topic", "database")
    )
    for each in there:
        each["value_base64"] = None
    assert here == there


def test_the_database_is_read_where_there_is_one_and_the_topic_where_more_is_asked_for(stored: Broker) -> None:
    stored.kafka.logs(TOPICS.dead_letters)[3].cut(99)
    assert listed() == ["3/0", "3/1", "3/2", "3/3"]
    assert listed("--from", "topic") == listed("--secrets") == []
    assert say("count", "--from", "topic")[1] == "no such dead letters\n"
    status, out, err = say("list", "--limit", "3", "--json")
    cursor = err.split()[-1]
    assert (status, len(out.splitlines()), err) == (0, 3, f"there are more: --after {cursor}\n")
    assert listed("--limit", "3", "--after", cursor) == ["3/0"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--from", "database", "--secrets"), "--follow and --secrets read the topic: omit --from database."),
        (("--from", "topic", "--after", "x"), "--after goes through the database page by page: omit"),
        (("--after", "x"), "The cursor is not one of this list"),
    ],
)
def test_what_the_database_does_not_hold_is_not_asked_of_it(arguments: tuple[str, ...], told: str) -> None:
    status, out, err = say("list", *arguments)
    assert (status > 0, out, err.startswith(told)) == (True, "", True), err


def test_a_dry_run_sends_nothing(broker: Broker) -> None:
    status, out, err = say("redrive", "--all", "--dry-run")
    assert (status, out.splitlines()[-1]) == (0, "would send 3, left out 1")
    assert "3/3: not redriven: it was kept in part only, its value (" in err
    assert broker.kafka.topic_names() == [TOPICS.dead_letters]


def test_what_was_redriven_is_not_redriven_again_however_often_it_is_refused(broker: Broker) -> None:
    assert say("redrive", "--code", "unknown_plan")[1].splitlines()[-1] == "sent 2, left out 0"
    assert [each.key for each in broker.records(TOPICS.signups)] == [b"u", b"bob"]
    # the worker refuses them again
    for offset, record in enumerate(broker.records(TOPICS.signups)):
        broker.refuse(key=record.key, source=SourcePosition(TOPICS.signups, 3, offset))
    for _ in range(3):
        assert say("redrive", "--code", "unknown_plan")[1].splitlines()[-1] == "sent 0, left out 4"
    assert len(broker.records(TOPICS.signups)) == 2
    assert say("redrive", "3/0", "--again")[1].splitlines()[0] == "3/0 -> signups/3/2"
    told = [orjson.loads(line) for line in say("list", "--json")[1].splitlines()]
    assert {each["letter"]: each["redriven_to"] for each in told if each["redriven_to"]} == {
        "3/0": "signups/3/2",
        "3/1": "signups/3/1",
    }


def test_a_letter_that_was_named_and_cannot_be_redriven_is_a_failure(broker: Broker) -> None:
    status, _, err = say("redrive", "3/3")
    assert (status, err.startswith("3/3: not redriven: it was kept in part only")) == (1, True)
    assert TOPICS.signups not in broker.kafka.topic_names()


def test_each_command_has_an_example() -> None:
    group = typer.main.get_command(dead_letters.app)
    assert isinstance(group, typer.core.TyperGroup)
    for command in group.commands.values():
        assert f"everwatch dead-letters {command.name} " in (command.help or "") + " ", command.name


# --- one letter of the topic ------------------------------------------------------------------------------------------


def topic_where(*offsets: int) -> tuple[MemoryKafka, DeadLetterTopic]:
    """The topic with letters at these offsets, and 9 behind its end."""
    kafka = MemoryKafka(1, SettableClock(5))
    for offset in range(9):
        kafka.append(SentRecord(TOPICS.dead_letters, 0, b"ann", b"{}", 5, [("reason", b"no")]))
        if offset not in offsets:
            # compacted away, or the end of a transaction
            kafka.logs(TOPICS.dead_letters)[0].at(offset).is_marker = True
    return kafka, DeadLetterTopic(Settings(), MemoryClients(kafka), SettableClock(0))


def place(offset: int) -> SourcePosition:
    return SourcePosition(TOPICS.dead_letters, 0, offset)


def test_a_letter_is_found_and_a_gap_or_an_offset_beyond_is_none() -> None:
    _, topic = topic_where(3, 5)
    found = topic.one(place(3))
    assert isinstance(found, DeadLetter)
    assert found.reason == "no"
    assert topic.one(place(4)) is None
    assert topic.one(place(7)) is None
    assert topic.one(place(9)) is None


def test_a_letter_that_cannot_be_or_may_not_be_read_is_not_told_to_be_missing() -> None:
    kafka, topic = topic_where(3, 5)
    kafka.damaged[TOPICS.dead_letters, 0] = range(3, 4)
    with pytest.raises(RecordsUnreadable, match="partition 0 cannot be read from offset 3 on"):
        topic.one(place(3))
    kafka, topic = topic_where(3, 5)
    kafka.denied.add(TOPICS.dead_letters)
    with pytest.raises(AccessError):
        topic.one(place(3))
