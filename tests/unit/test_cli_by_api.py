"""The command line through the HTTP API: the same output and exit statuses as with Kafka and the database.

All in one file: one API, which all commands go through.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import copy_context
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import typer
from support.api import OF_THE_CONSOLE, START, Api, api, listening
from support.command_line import Said, run_command
from support.notifying import MINUTE, RULES, Notifying, transition
from support.waiting import wait_until
from typer.testing import CliRunner

from everwatch.api.audit_runs import AuditRunWork
from everwatch.api.database import Database
from everwatch.api.job_writing import JobWriter
from everwatch.api.leased_work import LeasedRunner, Leases
from everwatch.api.permissions import Role
from everwatch.api.tokens import token_id_of
from everwatch.cli.main import COMMANDS as ALL_COMMANDS
from everwatch.cli.main import app
from everwatch.cli.support import global_options
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, EverwatchError
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_record import DeadLetter, SourcePosition
from everwatch.kafka.topics import Topics
from everwatch.model import Result, State, Status, Transition
from everwatch.notifier.route_rows import listed_routes
from everwatch.store import Partition, Received, SinkBatch
from everwatch.store.letters import StoredLetter

COMMANDS = {listed.name: listed for listed in ALL_COMMANDS}
Say = Callable[..., Awaitable["Said"]]


def _app_of(name: str) -> typer.Typer:
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(import_module(f"everwatch.cli.commands.{module}"), attribute)
    if isinstance(command, typer.Typer):
        return command
    alone = typer.Typer()
    alone.command()(command)
    return alone


def said(name: str, *arguments: str, text: bytes | None = None, **environment: str) -> Said:
    """Run a command; an error on purpose ends as ``everwatch`` ends it."""
    context = copy_context()
    # a test of a command that takes no API may have run in this process before
    context.run(global_options.COMMAND.set, ("", global_options.CommandReach.API))
    return context.run(run_command, _app_of(name), *arguments, text=text, **environment)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    # commands run in threads here, which take no signals
    with commands_given(new_clients=broker_was_looked_for, on_signal=lambda *_: None, look_again_s=0.01):
        yield


def broker_was_looked_for(*_: object) -> None:
    raise AssertionError("a broker was looked for")


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


@pytest.fixture
def say(server: Api) -> Say:
    """Run a command through the API, with the token of a role."""

    async def run(name: str, *arguments: str, role: Role = Role.ADMIN, token: str = "") -> Said:
        way = {"EVERWATCH_API_URL": server.url, "EVERWATCH_API_TOKEN": token or server.texts[role]}
        return await asyncio.to_thread(said, name, *arguments, **way)

    return run


SITE = ["--kind", "noop", "--config", "{}", "--every", "5m"]


async def test_users_monitors_and_tasks_are_changed_and_told_of_as_with_kafka(say: Say, server: Api) -> None:
    assert await say("signup", "ann", "--plan", "gold", "--attribute", "city=Bern", "--wait") == (
        0,
        "registered: signup ann\n",
        "",
    )
    done = await say("monitor", "put", "ann", "site", *SITE, "--wait")
    assert done == (0, "done: put ann/site, version 1\n", "")
    done = await say("monitor", "put", "ann", "site", *SITE, "--if-version", "7", "--wait")
    assert (done[0], done[1].startswith("refused: put ann/site: ")) == (1, True)
    told = await say("monitor", "pause", "ann", "site", "--id", "p-1", "--wait", "--json")
    assert (told[0], told.json["command_id"], told.json["answer"], told.json["offset"] >= 0) == (0, "p-1", "done", True)
    again = await say("monitor", "pause", "ann", "site", "--id", "p-1", "--wait")
    assert again[1] == "repeated: pause ann/site: a command with this id was carried out before\n"
    assert (await say("task", "create", "ann", "t", "--in", "90m", "--kind", "noop", "--wait"))[0] == 0
    refused = await say("task", "cancel", "ann", "none", "--wait")
    assert (refused[0], refused[1].startswith("refused: cancel ann/none")) == (1, True)
    assert (await say("user", "pause", "bob", "--wait"))[0] == 1
    assert {each.asker.command for each in server.worker.inputs} == {
        "signup", "put", "pause", "cancel", "pause_user",
    }  # fmt: skip


async def test_an_input_is_sent_without_waiting_and_named_by_its_id(say: Say, server: Api) -> None:
    told = await say("signal", "ann", "job", "--start", "--id", "s-1")
    assert told == (0, "sent: signal ann/job (id s-1)\n", "")
    assert server.worker.inputs[0].asker.signal_id == "s-1"
    told = await say("signup", "ann", "--id", "u-1", "--wait", "--json")
    assert (told.json["signup_id"], told.json["answer"]) == ("u-1", "registered")


async def test_a_file_of_signups_goes_through_the_api(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl"
    file.write_text('{"user_id": "a"}\n{"user_id": ""}\n{"user_id": "b", "plan": "gold"}\n')
    status, out, _ = told = await say("signup", "--file", str(file), "--wait", "--json")
    assert (status, told.json["sent"], told.json["refused"]) == (1, 2, 1), out
    assert told.json["answers"] == {"registered": 2}


async def test_single_fields_are_changed_and_secrets_never_leave_the_server(say: Say, server: Api) -> None:
    await say("signup", "ann", "--wait")
    config = orjson.dumps(
        {"url": "https://example.com/hook", "secret_headers": {"Authorization": "Bearer s3cret", "X": "1"}}
    )
    hook = ["--kind", "webhook", "--config", config.decode(), "--every", "5m", "--label", "env=prod"]
    assert (await say("monitor", "put", "ann", "hook", *hook, "--wait"))[0] == 0
    changed = await say(
        "monitor", "set", "ann", "hook", "--every", "1h", "--label", "team=a", "--remove-label", "env",
        "--config", '{"url": "https://example.com/other"}',
    )  # fmt: skip
    assert changed == (0, "done: put ann/hook, version 2\n", "")
    held = server.store.monitor("ann", "hook")
    assert held is not None
    assert orjson.loads(held.spec.config) == {
        "url": "https://example.com/other",
        "secret_headers": {"Authorization": "Bearer s3cret", "X": "1"},
    }
    assert held.spec.labels == (("team", "a"),)
    refused = await say("monitor", "set", "ann", "hook", "--every", "1ms")
    assert refused[0] in (1, 2)
    assert (await say("monitor", "set", "ann", "none", "--every", "1h"))[0] == 1


LETTER = StoredLetter(
    2, 0, START, "the plan 'gold' is unknown", "the plan … is unknown", "$.plan", "unknown_plan", "worker", "signups",
    1, 7, START - 9, "anna", "anna", "json", '{"user_id": "anna"}', "",
)  # fmt: skip


def fill(server: Api) -> None:
    """Return what there is to read: results, transitions, a refused record."""
    some, others = Partition("results", 0), Partition("transitions", 0)
    found = [
        Result(
            "ann", "site", START + n * 60_000, "noop", 1, Status.SUCCESS, f"it is {n}", START + n, 4.5, attempt=1 + n
        )
        for n in range(5)
    ]
    changes = [Transition("ann", "site", START + n, State.UP, State.DOWN, "gone", 1, kind="noop") for n in range(3)]
    server.store.apply(
        SinkBatch(
            START,
            {some: 5, others: 3, Partition("dead-letters", 2): 1},
            [Received(some, n, START, each) for n, each in enumerate(found)],
            [Received(others, n, START, each) for n, each in enumerate(changes)],
            letters=[Received(Partition("dead-letters", 2), 0, START, LETTER)],
        )
    )


READS = [
    ("monitor", "list"),
    ("monitor", "list", "--json"),
    ("monitor", "list", "ann", "--label", "env=prod", "--sort", "state-since", "--reverse"),
    ("monitor", "list", "--limit", "1"),
    ("monitor", "list", "nobody"),
    ("user", "list", "--json"),
    ("user", "list", "--plan", "gold"),
    ("user", "show", "ann"),
    ("user", "show", "ann", "--json"),
    ("user", "show", "nobody"),
    ("task", "list"),
    ("task", "list", "--json", "--status", "pending"),
    ("task", "count", "--json"),
    ("task", "show", "ann", "t", "--json"),
    ("task", "show", "ann", "none"),
    ("results",),
    ("results", "--json", "--limit", "2"),
    ("results", "--user", "ann", "--monitor", "site", "--status", "success", "--json"),
    ("transitions", "--json"),
    ("transitions", "--user", "ann", "--state", "down", "--alerts"),
    ("dead-letters", "list"),
    ("dead-letters", "list", "--json"),
    ("dead-letters", "count", "--json"),
]


@pytest.mark.parametrize("command", READS, ids=" ".join)
async def test_what_is_read_is_told_as_from_the_database(say: Say, server: Api, command: tuple[str, ...]) -> None:
    await say("signup", "ann", "--plan", "gold", "--attribute", "city=Bern", "--wait")
    await say("signup", "bob", "--http", "https://example.com/", "--every", "1m", "--wait")
    await say("monitor", "put", "ann", "site", *SITE, "--max-runs", "9", "--label", "env=prod", "--name", "x", "--wait")
    await say("monitor", "pause", "ann", "site", "--for", "90d", "--wait")
    await say("task", "create", "ann", "t", "--in", "300d", "--kind", "noop", "--wait")
    await say("user", "maintain", "ann", "--cron", "0 2 * * 6", "--duration", "2h", "--wait")
    fill(server)
    with commands_given(SettableClock(START)):
        by_api = await say(*command)
    with commands_given(SettableClock(START), open_reader=lambda _: server.store):
        assert by_api == await asyncio.to_thread(said, *command)
    assert by_api[1] or by_api[2]


async def test_a_monitor_is_explained_as_from_the_database(say: Say) -> None:
    with commands_given(SettableClock(START)):
        await say("signup", "ann", "--wait")
        site = ["--kind", "http", "--config", '{"url": "https://example.com/"}', "--every", "5m"]
        await say("monitor", "put", "ann", "site", *site, "--wait")
        status, out, _ = await say("explain", "ann", "site")
        assert status == 0, out
        for part in ("ann/site is new", "every 5m", "worker worker-of-0", "executor executor-1 (claims its ticks)"):
            assert part in out
        told = (await say("explain", "ann", "site", "--json")).json
        assert (told["schedule_text"], told["broker"], told["config"]["url"]) == (
            "every 5m",
            "",
            "https://example.com/",
        )
        assert told["schedule"]
    unknown = await say("explain", "ann", "none")
    assert unknown[::2] == (1, "User 'ann' has no monitor 'none'; it has 'site'.")
    secret = await say("explain", "ann", "site", "--secrets", role=Role.VIEWER)
    assert (secret[0], "shows no secrets" in secret[2]) == (2, True)


async def test_rows_are_imported_and_exported_through_the_api(say: Say, server: Api, tmp_path: Path) -> None:
    server.worker.unknown = {"bob"}
    rows = [
        {"user_id": "ann", "plan": "pro", "attributes": {"city": "Bern"}},
        {"user_id": "ann", "monitor": {"monitor_id": "site", "kind": "noop", "schedule": {"every": "5m"}}},
        {"user_id": "bob", "monitor": {"monitor_id": "site", "kind": "noop", "schedule": {"every": "5m"}}},
    ]
    file = tmp_path / "users.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    # there is no user bob: a worker refuses that row, and the pass says so at once
    status, out, error = await say("import", str(file), "--json")
    tally = orjson.loads(out)
    assert (status, tally["new"], tally["accepted"], tally["refused"]) == (1, 3, 2, 1)
    assert "users.jsonl:3:" in error
    again = (await say("import", str(file), "--json")).json
    # what was refused is sent again, in case that the user is there now
    assert (again["unchanged"], again["sent"], again["again"]) == (2, 1, 1)
    exported = await say("export", "--user", "ann", "--json")
    assert [sorted(orjson.loads(line)) for line in exported[1].splitlines()][1] == ["monitor", "user_id"]
    assert orjson.loads(exported[2]) == {"users": 1, "monitors": 1, "paused": 0, "redacted": 0}
    alone = await say("export", "--users-only", "--format", "csv")
    assert (alone[0], len(alone[1].splitlines())) == (0, 2)
    nobody = await say("export", "--user", "nobody")
    assert nobody[::2] == (1, "The database holds no user 'nobody' (a moment ago, or not yet).")
    secret = await say("export", "--secrets")
    assert (secret[0], "may not see secrets" in secret[2]) == (2, True)


async def test_ticks_are_audited_by_the_api(say: Say, server: Api) -> None:
    site = ["--kind", "tcp", "--config", '{"host": "127.0.0.1", "port": 9}', "--every", "1m"]
    await say("signup", "ann", "--wait")
    await say("monitor", "put", "ann", "site", *site, "--wait")
    server.clock.advance(600_000)
    leases = Leases("a", server.jobs, JobWriter(server.records, "jobs", server.jobs), server.clock)
    database = Database(lambda: server.store, server.clock)
    work = AuditRunWork(server.jobs, leases, database, Topics.of(Settings()), no_lag, server.clock)
    with commands_given(server.clock):
        asked = asyncio.ensure_future(say("audit", "--since", "9m", "--limit", "1", "--json"))
        await asyncio.to_thread(wait_until, "the run is made", server.jobs.audit_runs)
        await LeasedRunner(leases, [work], server.clock).run_once()
        status, out, error = await asked
    report = orjson.loads(out)
    assert status == 1
    assert (report["missed"] > 1, len(report["examples"]["missed"]), report["monitors"]) == (True, 1, 1)
    assert "Kafka is away" in error


def no_lag() -> Any:
    raise BrokerUnavailable("Kafka is away.")


async def test_the_notifier_is_asked_through_the_api(say: Say, server: Api, tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path / "notifier"), rules=RULES)
    server.stand_beside(notifying)
    with notifying.storage.begin() as work:
        work.put_routes(listed_routes(notifying.rules))
    notifying.sign_up("ann")
    notifying.tell(transition("new", "up", 1, "ann", alert=False), transition("up", "down", 2, "ann"))
    await notifying.later(MINUTE)
    listed = await say("notify", "routes")
    assert (listed[0], "hook" in listed[1], "group_wait" in listed[1]) == (0, True, True)
    told = (await say("notify", "routes", "ann", "--json")).json
    assert {each["route"]: each["problem"] for each in told} == {"mail": "", "hook": "it is for operators"}
    sent = [orjson.loads(line) for line in (await say("notify", "deliveries", "--json"))[1].splitlines()]
    assert {each["route"] for each in sent} == {"mail", "hook"}
    shown = await say("notify", "show", sent[0]["delivery_id"])
    assert (shown[0], sent[0]["summary"] in shown[1]) == (0, True)
    assert (await say("notify", "show", "nothing"))[0] == 1
    explained = await say("notify", "explain", "ann", "shop")
    assert (explained[0], "Incident " in explained[1]) == (0, True)
    assert "takes it" not in explained[1], "it is not registered"
    shop = {"monitor_id": "shop", "kind": "noop", "schedule": {"every": "1m"}}
    assert (await server.call("PUT", "/v1/users/ann", body={"monitors": [shop]})).status < 300
    decided = (await say("notify", "explain", "ann", "shop", "--json")).json["routes"]
    assert {each["route"]: each["takes"] for each in decided} == {"mail": True, "hook": True}
    tested = await say("notify", "test", "ann", "--within", "1")
    assert (tested[0], "pending" in tested[1]) == (1, True), "no notifier sends it"
    assert "would send by hook" in (await say("notify", "test", "--dry-run"))[1]
    assert (await say("notify", "contacts", "ann"))[0] == 0
    assert (await say("notify", "given-up", "--json")).json == []
    # its name of before
    assert (await say("notify", "dead", "--json")).json == []
    trusted = await say("notify", "verify", "ann", "--trust")
    assert (trusted[0], "count as verified" in trusted[1]) == (0, True)
    replayed = await say("notify", "replay", "--since", "1d", "--state", "sent")
    assert (replayed[0], "will be sent again" in replayed[1]) == (0, True)
    notifying.close()


async def test_lag_and_findings_come_from_the_api(say: Say) -> None:
    assert (await say("lag", "--json"))[:2] == (0, "")
    status, out, _ = await say("doctor")
    assert status == 1
    assert out == "ok  broker       it answers\nBAD sink         it is 9 s behind. Start another one.\n"
    assert [each["ok"] for each in (await say("doctor", "--json")).json] == [True, False]
    refused = await say("doctor", "--recent", "1h")
    assert (refused[0], "takes Kafka" in refused[2]) == (2, True)


async def test_dead_letters_are_shown_and_sent_back_through_the_api(say: Say, server: Api) -> None:
    fill(server)
    place = SourcePosition("signups", 1, 7)
    server.letters.held = [
        DeadLetter(
            SourcePosition("dead-letters", 2, n),
            START,
            "no plan",
            "$.plan",
            "unknown_plan",
            "worker",
            place,
            1,
            b"a",
            b'{"password": "hush"}',
        )
        for n in range(2)
    ]
    assert (await say("dead-letters", "show", "2/0", "--secrets")).status == 10
    token = server.token(Role.ADMIN, with_secrets=True)
    assert '"password": "hush"' in (await say("dead-letters", "show", "2/0", "--secrets", token=token)).out
    assert (await say("dead-letters", "show", "2/7", "--secrets", token=token)).status == 1
    listed = await say("dead-letters", "list", "--secrets", "--json", token=token)
    assert [orjson.loads(line)["letter"] for line in listed.out.splitlines()] == ["2/0"]
    assert "hush" in listed.out
    status, out, _ = await say("dead-letters", "show", "2/0")
    assert status == 0
    assert out.splitlines()[0] == "letter    2/0"
    assert '"user_id": "anna"' in out
    assert (await say("dead-letters", "show", "2/0", "--json")).json["code"] == "unknown_plan"
    assert (await say("dead-letters", "show", "2/9"))[0] == 1
    planned = await say("dead-letters", "redrive", "2/0", "--dry-run")
    assert planned == (0, "2/0 -> signups/1\nwould send 1, left out 0\n", "")
    sent = await say("dead-letters", "redrive", "--code", "unknown_plan", "--json")
    assert [orjson.loads(line)["to"] for line in sent[1].splitlines()] == ["signups/1/1000", "signups/1/1001"]
    again = await say("dead-letters", "redrive", "2/0", "7/7")
    assert (again[0], again[1]) == (1, "sent 0, left out 1\n")
    assert "7/7: there is no such dead letter." in again[2]
    assert "2/0: not redriven" in again[2]


class Looks:
    """Ends what looks again and again after some looks; before each but the first something happens."""

    def __init__(self, *happens: Callable[[], None]) -> None:
        self._happens = list(happens)

    def wait(self, _: float) -> bool:
        if not self._happens:
            return True
        self._happens.pop(0)()
        return False


async def test_dead_letters_are_followed_through_the_api(say: Say, server: Api) -> None:
    def refused(offset: int) -> None:
        letter = msgspec.structs.replace(LETTER, partition=2, offset=offset, refused_at=START + offset)
        place = Partition("dead-letters", 2)
        server.store.apply(SinkBatch(START, {place: offset + 1}, letters=[Received(place, offset, START, letter)]))

    for offset in range(3):
        refused(offset)
    looks = Looks(lambda: None, lambda: refused(3), lambda: None)
    with commands_given(new_stop=lambda: looks):
        told = await say("dead-letters", "list", "--follow", "--limit", "2", "--json")
    assert [orjson.loads(line)["letter"] for line in told.out.splitlines()] == ["2/1", "2/2", "2/3"]


@pytest.mark.parametrize("what", ["results", "transitions"])
async def test_what_comes_is_printed_until_the_token_is_revoked(what: str) -> None:
    async with api(beat_s=0.05) as server:
        token = server.token(Role.VIEWER)
        way = {"EVERWATCH_API_URL": server.url, "EVERWATCH_API_TOKEN": token}
        following = asyncio.create_task(asyncio.to_thread(said, what, "--follow", "--json", **way))
        await asyncio.to_thread(wait_until, "the stream has begun", lambda: server.live.clients == 1)
        # streams of all users are given events first, so what the other one gets was written to this one
        headers = {"Authorization": f"Bearer {server.texts[Role.VIEWER]}"}
        other = await server.session.get(f"{server.url}/v1/live?user=anna", headers=headers)
        await other.content.readuntil(b"\n\n")
        result = Result("anna", "m", START, "noop", 1, Status.SUCCESS, "", START, 1.0)
        change = Transition("anna", "m", START, State.NEW, State.UP, "", 1)
        server.taker(
            [
                Record("results", 0, 0, START, b"anna", codec.encode_result(result, OutputFormat.AVRO)),
                Record("transitions", 0, 0, START, b"anna", codec.encode_transition(change, OutputFormat.AVRO)),
            ]
        )
        while b"event: " not in await other.content.readuntil(b"\n\n"):
            pass
        other.close()
        server.tokens.revoke(token_id_of(token))
        ended = await following
    assert (ended.status, "unauthorized" in ended.err) == (9, True)
    [line] = ended.out.splitlines()
    assert (orjson.loads(line)["user_id"], "status" in orjson.loads(line)) == ("anna", what == "results")


async def test_tokens_operators_and_links_are_made_through_the_api(say: Say, server: Api) -> None:
    made = (await say("api-token", "create", "team", "--role", "operator", "--label", "team=shop", "--json")).json
    assert (made["label"], made["role"]) == ("team=shop", "operator")
    assert (await server.call("GET", "/v1/monitors", token=made["token"])).status == 200
    told = await say("api-token", "list")
    assert "operator, label team=shop" in told.out
    assert (await say("api-token", "revoke", made["token_id"]))[:2] == (0, f"revoked: team ({made['token_id']})\n")
    assert (await say("api-token", "revoke", made["token_id"]))[0] == 1
    assert (await server.call("GET", "/v1/monitors", token=made["token"])).status == 401
    link = (await say("api-token", "login-link", "--role", "viewer")).out.strip()
    assert link.startswith(f"{server.url}/login?code=")
    assert (await server.call("GET", link.removeprefix(server.url), token=None)).status == 303
    assert (await say("api-token", "list", role=Role.OPERATOR))[0] == 10

    async def operator(*arguments: str, password: str = "") -> Said:
        way = {"EVERWATCH_API_URL": server.url, "EVERWATCH_API_TOKEN": server.texts[Role.ADMIN]}
        text = password.encode() + b"\n" if password else None
        return await asyncio.to_thread(said, "operator", *arguments, text=text, **way)

    added = await operator("add", "Ann", "--role", "operator", "--password-stdin", password="correct horse battery")
    assert added[:2] == (0, "added: ann (operator)\n")
    assert (await operator("add", "ann", "--password-stdin", password="correct horse battery"))[0] == 1
    login = {"name": "ann", "password": "correct horse battery"}
    assert (await server.call("POST", "/login/password", body=login, token=None, **OF_THE_CONSOLE)).status == 204
    assert (await operator("change", "ann", "--role", "viewer"))[:2] == (0, "changed: ann (viewer); log in again\n")
    [listed] = [orjson.loads(line) for line in (await operator("list", "--json")).out.splitlines()]
    assert (listed["name"], listed["role"], "password" in listed) == ("ann", "viewer", False)
    short = await server.call("PUT", "/v1/operators/eve", body={"password": "short"})
    assert (short.status, short.json["errors"][0]["path"], b"short" in short.data) == (422, "$.password", False)
    assert (await server.call("PUT", "/v1/operators/eve", body={})).status == 422
    assert (await operator("remove", "ann"))[:2] == (0, "removed: ann\n")
    assert (await operator("remove", "ann"))[0] == 1
    commands = [each.command for each in server.audit.entries]
    assert {"create_token", "revoke_token", "create_login_link", "put_operator", "remove_operator"} <= {*commands}
    assert not any("correct horse" in str(each) for each in server.audit.entries)


async def test_roll_ups_and_availability_come_from_the_api(say: Say, server: Api) -> None:
    fill(server)
    await say("monitor", "put", "anna", "site", *SITE, "--wait")
    for command in (("db", "availability", "anna", "site", "--since", "1h"), ("db", "rollups", "anna", "shop")):
        told = await say(*command)
        assert (told.status, told.err) == (0, ""), told
        assert told.out
    assert len((await say("db", "availability", "anna", "site", "--bars", "3", "--json")).out.splitlines()) == 4


async def test_a_purge_is_waited_for_and_says_what_went_and_what_remains(say: Say, server: Api) -> None:
    await say("signup", "ann", "--wait")
    await say("monitor", "put", "ann", "site", *SITE, "--wait")
    assert (await say("user", "purge", "ann", "--yes", role=Role.OPERATOR)).status == 10
    server.worker.sink_is_away = True
    status, _, error = await say("user", "purge", "ann", "--yes", "--timeout", "50ms")
    assert (status, "no sink has deleted" in error) == (3, True)
    server.worker.sink_is_away = False
    told = await say("user", "purge", "ann", "--yes", "--json")
    assert told.status == 0, told
    assert (told.json["was_watched"], told.json["deleted"]["monitor_history"]) == (False, 1)
    assert [each["topic"] for each in told.json["remains"]] == ["results", "audit"]
    assert "not bounded" in (await say("user", "purge", "ann", "--yes")).out


CANNOT = [
    ("dead-letters", "list", "--follow", "--secrets"),
    ("dead-letters", "count", "--from", "topic"),
    ("results", "--from", "topic"),
    ("transitions", "--from", "topic"),
    ("doctor", "--recent", "1h"),
    ("doctor", "--for", "sink"),
    ("topics", "create"),
    ("topics", "skip", "signups/0/1"),
    ("secrets", "rotate", "--dry-run"),
    ("db", "archive", "folder"),
    ("db", "rollups", "--rebuild"),
]


@pytest.mark.parametrize("command", CANNOT, ids=" ".join)
async def test_what_the_api_does_not_do_is_said_in_one_sentence(say: Say, command: tuple[str, ...]) -> None:
    status, out, error = await say(*command)
    assert (status, out) == (2, "")
    assert "takes Kafka or the database itself" in error
    assert "omit --api and EVERWATCH_API_URL" in error


async def test_tables_and_topics_are_shown_as_the_api_sees_them(say: Say, server: Api) -> None:
    await say("signup", "ann", "--wait")
    told = await say("db", "status", role=Role.VIEWER)
    assert (told.status, "users" in told.out, f"{server.url}: 4.0 KiB on disk" in told.out) == (0, True, True), told
    assert (await say("db", "status", "--json")).json["tables"][0]["rows"] == 1
    checked = await say("topics", "check", role=Role.VIEWER)
    assert (checked.status, "signups" in checked.out, "ok" in checked.out) == (0, True, True)


async def test_secrets_are_encrypted_anew_by_the_workers_of_all_users_or_of_one(say: Say) -> None:
    for user in ("ann", "bob"):
        await say("signup", user, "--wait")
    told = await say("secrets", "rotate", "--json")
    assert (told.status, told.json) == (0, {"users": 2, "unchanged": 2})
    assert (await say("secrets", "rotate", "--user", "ann")).out == (
        "1 users: encrypted anew for 0, nothing to do for 1\n"
    )
    unknown = await say("secrets", "rotate", "--user", "nobody")
    assert (unknown.status, "refused for 1 users" in unknown.err) == (1, True)
    assert (await say("secrets", "rotate", role=Role.OPERATOR)).status == 10


@pytest.mark.parametrize("command", ["restore folder", "backup create"])
async def test_what_works_on_topics_themselves_says_why_it_takes_them(server: Api, command: str) -> None:
    way = ["--api", server.url, "--token", server.texts[Role.ADMIN]]
    status, out = await asyncio.to_thread(run_main, *way, *command.split())
    assert status == 2, out
    assert f"'everwatch {command.split()[0]}' takes Kafka or the database itself (" in out


async def test_errors_of_the_api_have_the_statuses_that_kafka_s_have(say: Say, server: Api) -> None:
    nobody = await asyncio.to_thread(said, "monitor", "list", EVERWATCH_API_URL=server.url, EVERWATCH_API_TOKEN="wrong")
    assert (nobody[0], "unauthorized" in nobody[2]) == (9, True)
    forbidden = await say("signal", "ann", "job", role=Role.VIEWER)
    assert (forbidden[0], "forbidden" in forbidden[2]) == (10, True)
    sock = listening()
    away = f"http://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()
    gone = await asyncio.to_thread(said, "monitor", "list", EVERWATCH_API_URL=away)
    assert (gone[0], "is it running there?" in gone[2]) == (3, True)


async def test_nobody_who_answers_is_told_after_the_timeout(say: Say, server: Api) -> None:
    server.worker.silent = True
    status, _, error = await say("monitor", "resume", "ann", "site", "--wait", "--timeout", "50ms")
    assert (status, "No worker answered within 0.05 s" in error) == (3, True)


def run_main(*arguments: str, **environment: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", **environment})
    if isinstance(found.exception, EverwatchError):
        return found.exception.exit_code, str(found.exception)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, found.output


async def test_the_options_before_a_command_name_the_api(server: Api) -> None:
    way = ["--api", server.url, "--token", server.texts[Role.ADMIN]]
    status, out = await asyncio.to_thread(run_main, *way, "signup", "ann", "--wait")
    assert (status, "registered: signup ann" in out) == (0, True)
    status, out = await asyncio.to_thread(run_main, *way, "restore", "folder")
    assert (status, "'everwatch restore' takes Kafka or the database itself" in out) == (2, True)
    status, out = await asyncio.to_thread(run_main, *way, "plans", "list")
    assert (status, "no plans are in force" in out) == (0, True)
    status, out = await asyncio.to_thread(run_main, *way, "worker")
    assert (status, "works on what is here" in out) == (2, True)
    both = ["--bootstrap-servers", "127.0.0.1:1"]
    status, out = await asyncio.to_thread(run_main, *way, "lag", *both)
    assert (status, "not both" in out) == (2, True)
    # a process on a machine whose people use an API takes its own Kafka
    status, out = await asyncio.to_thread(run_main, "plans", "check", "nowhere.toml", EVERWATCH_API_URL=server.url)
    assert "Kafka or the database itself" not in out


def test_every_command_says_what_it_works_on() -> None:
    assert {name for name, listed in COMMANDS.items() if listed.reach is global_options.CommandReach.API} == {
        "signup", "monitor", "task", "user", "signal", "results", "transitions", "explain", "lag", "dead-letters",
        "doctor", "audit", "import", "export", "api-token", "operator", "db", "secrets", "topics",
    }  # fmt: skip
