"""From a signup to a stored result, on a real broker, with everything running.

All in one file: one pipeline that all tests share.
"""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest
from confluent_kafka import Message
from conftest import NewPipeline
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form
from support.account import due_instants, settle
from support.pipeline import PARTITIONS, Pipeline, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.encoding import codec

pytestmark = pytest.mark.integration
SCHEMAS = Path(__file__).parents[2] / "schemas"
CLOSED_PORT = 1


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    """One of several partitions: where records are is one of the things that are tested."""
    running = new_pipeline()
    running.ensure("worker", "executor", "sink")
    running.wait_until_ready()
    return running


def avro_header(name: str) -> bytes:
    """Return what Avro's specification says a single-object encoding starts with."""
    schema = orjson.loads((SCHEMAS / f"{name}.avsc").read_bytes())
    return b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def in_avro(name: str, record: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parse_schema(orjson.loads((SCHEMAS / f"{name}.avsc").read_bytes())), record)
    return avro_header(name) + body.getvalue()


def of_user(messages: list[Message], user_id: str) -> list[Message]:
    return [message for message in messages if message.key() == user_id.encode()]


# --- kinds and states -------------------------------------------------------------------------------------------------


def test_signup_leads_to_stored_results_states_and_transitions_of_every_kind(
    pipeline: Pipeline, target: Target
) -> None:
    pipeline.sign_up(
        "kinds",
        every("well", "http", url=target.url("/ok/kinds")),
        every("broken", "http", url=target.url("/broken/kinds")),
        every("open", "tcp", host="127.0.0.1", port=target.port),
        every("closed", "tcp", host="127.0.0.1", port=CLOSED_PORT),
        every("nothing", "noop"),
    )
    pipeline.wait_for_states("kinds", well="up", broken="down", open="up", closed="down", nothing="up")
    assert target.hits["/ok/kinds"] > 0

    seen = {
        name: pipeline.wait_for_results("kinds", name)[0] for name in ("well", "broken", "open", "closed", "nothing")
    }
    assert {name: result.status.value for name, result in seen.items()} == {
        "well": "success",
        "broken": "failure",
        "open": "success",
        "closed": "failure",
        "nothing": "success",
    }
    assert "500" in seen["broken"].reason
    assert seen["closed"].reason == f"connection refused by 127.0.0.1:{CLOSED_PORT}"
    assert {seen[name].reason for name in ("well", "open", "nothing")} == {""}
    assert seen["well"].timings["total"] > 0

    def told() -> dict[str, tuple[str, str, str]] | None:
        changes = {
            t.monitor_id: (t.from_state.value, t.to_state.value, t.reason)
            for t in pipeline.reader.transitions(limit=1_000)
            if t.user_id == "kinds"
        }
        return changes if len(changes) == 5 else None

    assert wait_until("the transitions are stored", told) == {
        "well": ("new", "up", ""),
        "open": ("new", "up", ""),
        "nothing": ("new", "up", ""),
        "broken": ("new", "down", seen["broken"].reason),
        "closed": ("new", "down", seen["closed"].reason),
    }
    assert pipeline.monitor("kinds", "closed").reason == seen["closed"].reason


def test_heartbeat_is_up_while_signals_come_late_without_them_and_up_again(pipeline: Pipeline) -> None:
    pipeline.sign_up(
        "beats",
        every("alive", "heartbeat", period="1s", grace="2s"),
        every("silent", "heartbeat", period="1s", grace="1s"),
    )

    def state_while_beating(monitor_id: str, state: str) -> bool:
        pipeline.beat("beats", "alive")
        monitor = pipeline.monitor("beats", monitor_id)
        return monitor is not None and monitor.state.value == state

    wait_until("the silent one is late", lambda: state_while_beating("silent", "late"), every_s=0.3)
    late_since = pipeline.results("beats", "silent")[-1].scheduled_at
    wait_until(
        "the alive one outlived the silent one",
        lambda: state_while_beating("alive", "up") and pipeline.results("beats", "alive")[-1].scheduled_at > late_since,
        every_s=0.3,
    )
    assert {result.status.value for result in pipeline.results("beats", "alive")} == {"success"}
    assert pipeline.monitor("beats", "silent").reason.startswith("no heartbeat since watching began")

    # whoever beat falls silent, and comes back
    pipeline.wait_for_states("beats", alive="late", silent="late")
    assert pipeline.monitor("beats", "alive").reason.startswith("no heartbeat for")
    wait_until("it is up again", lambda: state_while_beating("alive", "up"), every_s=0.3)


def test_first_result_is_stored_within_an_interval_of_the_signup(pipeline: Pipeline, target: Target) -> None:
    signed_up = now_ms()
    pipeline.sign_up("prompt", every("site", "http", "3s", url=target.url("/ok/prompt")))
    first = wait_until("the first result is stored", lambda: pipeline.results("prompt", "site"), within_s=8)[0]

    began = next(stretch.since for stretch in pipeline.reader.history() if stretch.user_id == "prompt")
    assert signed_up <= began
    assert began < first.scheduled_at <= began + 3_000


# --- input ------------------------------------------------------------------------------------------------------------


def test_json_and_avro_signups_give_the_same_monitors(pipeline: Pipeline, target: Target) -> None:
    http = {"url": target.url("/ok/same"), "expected_status": "200-299,301"}
    heartbeat = {"period": "5m", "grace": "30s"}
    policy = {"timeout": "3s", "failures_to_down": 2, "priority": "high", "misfire": "fire_all"}
    pipeline.send(
        pipeline.topics.signups,
        "in-json",
        {
            "user_id": "in-json",
            "plan": "gold",
            "attributes": {"age": 7, "name": "Zoë"},
            "monitors": [
                {"monitor_id": "site", "config": http, "schedule": {"every": "2s"}, "policy": policy},
                {"kind": "heartbeat", "config": heartbeat},
            ],
        },
    )
    record = {
        "user_id": "in-avro",
        "plan": "gold",
        "attributes": {"age": 7, "name": "Zoë"},
        "monitors": [
            {
                "monitor_id": "site",
                "config": orjson.dumps(http).decode(),
                "schedule": {"every": "2s"},
                "policy": policy,
            },
            {"kind": "heartbeat", "config": orjson.dumps(heartbeat).decode()},
        ],
    }
    pipeline.send(pipeline.topics.signups, "in-avro", in_avro("signup", record))

    for user in ("in-json", "in-avro"):
        pipeline.wait_for_results(user, "site")
    specs = {user: [monitor.spec for monitor in pipeline.reader.monitors(user)] for user in ("in-json", "in-avro")}
    assert specs["in-json"] == specs["in-avro"]
    assert [spec.monitor_id for spec in specs["in-json"]] == ["heartbeat", "site"]


def monitor_in_signup(**monitor: Any) -> bytes:
    return orjson.dumps({"user_id": "bad", "monitors": [monitor]})


# topic, value, what the header "path" says, what the header "reason" begins with
MALFORMED: list[tuple[str, bytes | None, str, str]] = [
    ("signups", None, "", "the record is empty"),
    ("signups", b"hello", "", "neither JSON"),
    ("signups", b'{"user_id":', "", "not valid JSON: Input data was truncated"),
    ("signups", b'{"user_id":"\xff"}', "", "not valid JSON"),
    ("signups", b"{}", "$.user_id", "this field is missing"),
    ("signups", b'{"user_id":5}', "$.user_id", "expected text"),
    ("signups", b'{"user_id":""}', "$.user_id", "this must not be empty"),
    ("signups", b'{"user_id":"a\\u0007"}', "$.user_id", "control, direction and invisible characters are not allowed"),
    ("signups", b'{"user_id":"someone-else"}', "$.user_id", "the record's key is not the user_id"),
    ("signups", b'{"user_id":"bad","color":1}', "$.color", "there is no field 'color'"),
    ("signups", b"\0\0\0\0\1abc", "", "the record is in Confluent wire format, but no schema registry"),
    ("signups", b"\xc3\x01unknown schema", "", "unknown Avro schema fingerprint"),
    ("signups", avro_header("signup") + b"\x08u", "", "the Avro body does not hold a signup"),
    ("signups", monitor_in_signup(kind="telepathy"), "$.monitors[0].kind", "there is no kind 'telepathy'"),
    ("signups", monitor_in_signup(kind="http"), "$.monitors[0].config", "the kind 'http' needs the field 'url'"),
    ("signups", monitor_in_signup(kind="http", config={"url": "ftp://x"}), "$.monitors[0].config.url", "a URL starts"),
    ("signups", monitor_in_signup(schedule={"every": "soon"}, kind="noop"), "$.monitors[0].schedule.every", "'soon'"),
    (
        "signups",
        b'{"user_id":"bad","monitors":[{"kind":"noop"},{"kind":"noop"}]}',
        "$.monitors[1].monitor_id",
        "a second monitor has the id 'noop'",
    ),
    ("commands", b'{"command":"explode","user_id":"bad"}', "$.command", "'explode' is not one of"),
    ("commands", b'{"command":"pause","user_id":"bad"}', "$.monitor_id", "a pause needs the monitor_id"),
    ("commands", b'{"command":"put","user_id":"bad"}', "$.monitor", "a put needs the monitor to put"),
    ("commands", b'{"command":"pause","user_id":"bad","monitor_id":"m"}', "$.user_id", "there is no user 'bad'"),
    ("commands", b'{"command":"deregister","user_id":"bad"}', "$.user_id", "there is no user 'bad'"),
    ("signals", b'{"user_id":"bad"}', "$.monitor_id", "this field is missing"),
    ("signals", b'{"user_id":"bad","monitor_id":"m","at":-1}', "$.at", "this must be at least 0"),
    ("signals", b'{"user_id":"bad","monitor_id":"m"}', "$.monitor_id", "there is no monitor 'm'"),
    ("signals", b'{"user_id":"bad","monitor_id":"m","value":1,"type":"fail"}', "$.type", "a signal is a value or says"),
]


def test_malformed_input_is_kept_with_its_reason_and_harms_nobody_else(pipeline: Pipeline) -> None:
    users = pipeline.reader.counts().users
    sent = {
        tuple(pipeline.send(getattr(pipeline.topics, topic), "bad", value)): (value, path, reason)
        for topic, value, path, reason in MALFORMED
    }

    def refused() -> list[Message] | None:
        found = of_user(pipeline.read(pipeline.topics.dead_letters), "bad")
        return found if len(found) >= len(sent) else None

    for letter in wait_until("all are in the dead letters", refused) or []:
        said = {name: data.decode() for name, data in letter.headers()}
        source = said["source_topic"], int(said["source_partition"]), int(said["source_offset"])
        value, path, reason = sent.pop(source)
        assert (letter.value(), said["path"]) == (value, path)
        assert said["reason"].startswith(reason)
    assert not sent

    pipeline.sign_up("good", every("nothing", "noop"))
    pipeline.wait_for_results("good", "nothing")
    assert pipeline.reader.counts().users == users + 1


# --- changes ----------------------------------------------------------------------------------------------------------


def test_signing_up_twice_is_one_signup_and_a_changed_one_changes_the_monitors(pipeline: Pipeline) -> None:
    monitors = every("kept", "noop"), every("changed", "noop"), every("removed", "noop")
    pipeline.sign_up("again", *monitors)
    pipeline.sign_up("again", *monitors)
    for name in ("kept", "changed", "removed"):
        pipeline.wait_for_results("again", name, 2)
    assert [(m.monitor_id, m.version) for m in pipeline.reader.monitors("again")] == [
        ("changed", 1),
        ("kept", 1),
        ("removed", 1),
    ]

    pipeline.sign_up("again", every("kept", "noop"), every("changed", "noop", "2s"), every("new", "noop"))
    wait_until("it is changed", lambda: pipeline.monitor("again", "new"))
    assert [(m.monitor_id, m.version) for m in pipeline.reader.monitors("again")] == [
        ("changed", 2),
        ("kept", 1),
        ("new", 1),
    ]
    stretches = [stretch for stretch in pipeline.reader.history() if stretch.user_id == "again"]
    removed_at = next(stretch.until for stretch in stretches if stretch.monitor_id == "removed")
    changed_at = next(stretch.since for stretch in stretches if stretch.version == 2)
    assert removed_at is not None
    pipeline.wait_for_results("again", "kept", 5, after=removed_at)
    assert pipeline.results("again", "removed")[-1].scheduled_at <= removed_at
    after = pipeline.wait_for_results("again", "changed", 2, after=changed_at)
    assert {result.version for result in after} == {2}
    assert {b.scheduled_at - a.scheduled_at for a, b in pairwise(after)} == {2_000}


def test_paused_and_deleted_monitors_stay_silent_and_a_resumed_one_goes_on(pipeline: Pipeline) -> None:
    pipeline.sign_up("orders", every("watched", "noop"), every("paused", "noop"), every("deleted", "noop"))
    pipeline.wait_for_states("orders", watched="up", paused="up", deleted="up")

    pipeline.command("pause", "orders", "paused")
    pipeline.command("delete", "orders", "deleted")
    pipeline.wait_for_states("orders", watched="up", paused="paused")
    ended = {stretch.monitor_id: stretch.until for stretch in pipeline.reader.history() if stretch.user_id == "orders"}
    assert ended["watched"] is None
    last = max(ended["paused"], ended["deleted"])
    pipeline.wait_for_results("orders", "watched", 4, after=last)
    for name in ("paused", "deleted"):
        assert pipeline.results("orders", name)[-1].scheduled_at <= ended[name]

    pipeline.command("resume", "orders", "paused")
    pipeline.wait_for_states("orders", watched="up", paused="up")
    resumed_at = pipeline.monitor("orders", "paused").since
    resumed = pipeline.wait_for_results("orders", "paused", 2, after=last)
    assert resumed[0].scheduled_at > resumed_at


def test_deregistered_user_is_gone_and_silent(pipeline: Pipeline) -> None:
    users = pipeline.reader.counts().users
    pipeline.sign_up("leaver", every("a", "noop"), every("b", "noop"))
    pipeline.sign_up("stayer", every("a", "noop"))
    pipeline.wait_for_states("leaver", a="up", b="up")

    pipeline.command("deregister", "leaver")
    wait_until("the user is gone", lambda: pipeline.reader.counts().users == users + 1)
    assert pipeline.reader.monitors("leaver") == []
    ended = [stretch.until for stretch in pipeline.reader.history() if stretch.user_id == "leaver"]
    assert None not in ended
    pipeline.wait_for_results("stayer", "a", 3, after=max(ended))
    assert pipeline.results("leaver")[-1].scheduled_at <= max(ended)


# --- output -----------------------------------------------------------------------------------------------------------


def published(name: str) -> dict[bytes, Any]:
    """The schemas of ``schemas/`` by the fingerprint that a record begins with, the newest first."""
    files = [SCHEMAS / f"{name}.avsc", *(SCHEMAS / "history").glob(f"{name}.*.avsc")]
    schemas = [orjson.loads(file.read_bytes()) for file in files]
    return {bytes.fromhex(fingerprint(to_parsing_canonical_form(each), "CRC-64-AVRO")): each for each in schemas}


def test_result_is_readable_with_its_published_schema_alone(pipeline: Pipeline, target: Target) -> None:
    pipeline.sign_up("reader", every("site", "http", url=target.url("/broken/reader")))
    stored = pipeline.wait_for_results("reader", "site")[0]

    schemas = published("result")
    message = of_user(pipeline.read(pipeline.topics.results), "reader")[0]
    assert message.value()[:2] == b"\xc3\x01"
    body, newest = io.BytesIO(message.value()[10:]), next(iter(schemas.values()))
    result = fastavro.schemaless_reader(body, parse_schema(schemas[message.value()[2:10]]), parse_schema(newest))
    assert result["user_id"] == "reader"
    assert result["status"] == "failure"
    assert result["reason"] == stored.reason
    assert result["region"] == ""
    assert result["scheduled_at"].timestamp() * 1000 == stored.scheduled_at


def test_tick_result_and_transition_are_on_the_partition_the_signup_came_on(pipeline: Pipeline, target: Target) -> None:
    """Whatever partitioner the producer of signups uses."""
    users = {f"placed-{number}": number for number in range(PARTITIONS)}
    for user, number in users.items():
        site = every("site", "http", url=target.url("/ok/placed"))
        assert pipeline.sign_up(user, site, every("nothing", "noop"), partition=number).partition == number
    for user in users:
        pipeline.wait_for_states(user, site="up", nothing="up")
        pipeline.wait_for_results(user, "site")

    topics = pipeline.topics
    for topic in (topics.ticks, topics.results, topics.transitions):
        placed = {(m.key().decode(), m.partition()) for m in pipeline.read(topic) if m.key().startswith(b"placed-")}
        assert placed == set(users.items()), topic
    told = [codec.decode_transition(m.value()) for m in of_user(pipeline.read(topics.transitions), "placed-0")]
    assert {(t.monitor_id, t.to_state.value) for t in told} == {("site", "up"), ("nothing", "up")}


def test_every_stored_result_is_on_schedule_and_none_is_missing(pipeline: Pipeline) -> None:
    """Of all monitors of all tests above, through pauses, changes and deletions."""
    pipeline.sign_up("audited", every("nothing", "noop", "1s"))
    results = pipeline.wait_for_results("audited", "nothing", 4)
    since = pipeline.monitor("audited", "nothing").since
    last = results[-1].scheduled_at
    assert [result.scheduled_at for result in results] == due_instants("audited", "nothing", 1_000, since, last)

    account = pipeline.wait_for_balance(0, last)
    assert account == settle(pipeline.reader, 0, last)
    assert account.balanced, account
    # of all users, and every monitor has an interval
    assert account.due >= sum(1 for _ in pipeline.reader.identities(0, last + 1))
