"""Tests of how a monitor that is done ended: a field, also of what versions wrote that had it before the reason."""

import io
from pathlib import Path

import fastavro
import msgspec
import orjson
import pytest
from msgspec.structs import replace

from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, codec
from everwatch.encoding.ended_monitors import split_outcome, with_outcome
from everwatch.model import NOTHING, Agenda, At, Monitor, MonitorSpec, Origin, State, Status, Transition

HISTORY = Path(__file__).parents[2] / "schemas" / "history"
BEFORE_OUTCOMES = "2227d09862047b3a"
AT = 1_800_000_000_000
KEY = codec.table_key("u", "m")
MONITOR = Monitor("u", MonitorSpec("m", "webhook", "{}", At(AT)), Origin.COMMAND, 1, AT - 1)
DONE = replace(MONITOR, state=State.DONE, state_since=AT, reason="exit status 3", outcome=Status.FAILURE, judged_at=AT)
ENDED = Transition("u", "m", AT, State.NEW, State.DONE, "exit status 3", 1, outcome=Status.FAILURE)


@pytest.mark.parametrize(
    ("state", "written", "outcome", "reason"),
    [
        (State.DONE, "failure: timed out: 3 s", Status.FAILURE, "timed out: 3 s"),
        (State.DONE, "late", Status.LATE, ""),
        (State.DONE, "skipped: not run", Status.SKIPPED, "not run"),
        (State.DONE, "success: failure: of others", Status.SUCCESS, "failure: of others"),
        (State.DONE, "failure: it ran for the last time: down", Status.FAILURE, "it ran for the last time: down"),
        (State.DONE, "200 OK", None, "200 OK"),
        (State.DONE, "3 sent: all", None, "3 sent: all"),
        (State.DONE, "", None, ""),
        (State.DOWN, "failure: of the disk", None, "failure: of the disk"),
    ],
)
def test_an_older_record_has_its_outcome_before_the_reason(
    state: State, written: str, outcome: Status | None, reason: str
) -> None:
    assert split_outcome(state, written) == (outcome, reason)
    # an entry without the field is what older versions wrote, byte for byte
    entry = codec.decode_entry(KEY, codec.encode_entry(replace(DONE, state=state, reason=written, outcome=None)))
    assert isinstance(entry, Monitor)
    assert (entry.state, entry.outcome, entry.reason) == (state, outcome, reason)


@pytest.mark.parametrize("agenda", [NOTHING, Agenda(forget_at=AT + 5)])
@pytest.mark.parametrize("outcome", Status)
@pytest.mark.parametrize("reason", ["", "failure: of others"])
def test_an_entry_keeps_the_outcome_and_a_reason_that_looks_like_one(
    agenda: Agenda, outcome: Status, reason: str
) -> None:
    done = replace(DONE, agenda=agenda, outcome=outcome, reason=reason)
    read = codec.decode_entry(KEY, codec.encode_entry(done))
    assert read == done
    assert isinstance(read, Monitor)
    # many places ask by identity for a monitor with nothing planned
    assert (read.agenda is NOTHING) is (agenda is NOTHING)


def test_an_entry_with_an_outcome_is_of_the_same_schema_so_older_versions_read_it() -> None:
    record = avro_schemas.decode("monitor", codec.encode_entry(replace(DONE, agenda=Agenda(forget_at=AT + 5))))
    assert orjson.loads(record["agenda"]) == {"forget_at": AT + 5, "outcome": "failure"}
    assert msgspec.json.decode(record["agenda"], type=Agenda) == Agenda(forget_at=AT + 5)
    assert record["reason"] == "exit status 3"


def test_a_transition_of_the_schema_before_is_read_with_its_outcome() -> None:
    schema = fastavro.schema.load_schema(HISTORY / f"transition.{BEFORE_OUTCOMES}.avsc")
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schema, msgspec.to_builtins(ENDED) | {"reason": "failure: exit status 3"})
    old = avro_schemas.MAGIC + bytes.fromhex(BEFORE_OUTCOMES) + written.getvalue()
    assert codec.decode_transition(old) == ENDED


def test_a_transition_in_json_without_the_field_is_read_with_its_outcome() -> None:
    said = msgspec.to_builtins(ENDED) | {"reason": "failure: exit status 3"}
    del said["outcome"]
    assert codec.decode_transition(orjson.dumps(said)) == ENDED


@pytest.mark.parametrize("output_format", [OutputFormat.AVRO, OutputFormat.JSON])
@pytest.mark.parametrize("outcome", [*Status, None])
def test_a_transition_comes_back_as_it_was_sent(output_format: OutputFormat, outcome: Status | None) -> None:
    sent = replace(ENDED, outcome=outcome)
    assert codec.decode_transition(codec.encode_transition(sent, output_format)) == sent


def test_only_a_transition_to_done_is_looked_at_for_an_outcome() -> None:
    down = replace(ENDED, to_state=State.DOWN, outcome=None, reason="failure: of the disk")
    assert with_outcome(down) is down
