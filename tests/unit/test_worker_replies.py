"""Tests of what a worker answers to signups and signals that have an id: each outcome, its code, and after a crash."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.pipeline import every
from support.worker import CHANGELOG, START, TOPICS, Broker, Life, until, worker

from everwatch.core.clock import SettableClock
from everwatch.encoding import avro_schemas, codec
from everwatch.model import CommandOutcome, Reply

EVERY_MINUTE = {"schedule": {"every": "1m"}}
PLANS = """
[plans.free]
max_monitors = 1

[[plans.free.monitors]]
monitor_id = "site"
config = { url = "https://{{user.attributes.site}}/" }
schedule = { every = "5m" }

[plans.pro]
"""


@pytest.fixture
async def life(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Life]:
    (tmp_path / "plans.toml").write_text(PLANS)
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(tmp_path / "plans.toml"))
    broker = Broker()
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        yield life


def replies(broker: Broker) -> list[Reply]:
    return [codec.decode_reply(value) for _, value in broker.pairs[TOPICS.replies]]


async def take(life: Life, topic: str, *inputs: dict[str, Any] | bytes) -> list[Reply]:
    """Take inputs of ann's as one batch; gives the answers to them, in order."""
    already = len(life.broker.pairs[TOPICS.replies])
    life.broker.pairs[topic] += [
        (b"ann", each if isinstance(each, bytes) else orjson.dumps({"user_id": "ann"} | each)) for each in inputs
    ]
    await until("the inputs are taken", lambda: life.broker.is_acknowledged(topic))
    return replies(life.broker)[already:]


async def sign_up(life: Life, *signups: dict[str, Any] | bytes) -> list[Reply]:
    return await take(life, TOPICS.signups, *signups)


async def send(life: Life, *signals: dict[str, Any] | bytes) -> list[Reply]:
    return await take(life, TOPICS.signals, *signals)


def job() -> dict[str, Any]:
    return every("job", "heartbeat", period="1h")


async def test_a_signup_with_an_id_is_answered_with_what_it_changed(life: Life) -> None:
    pro = {"plan": "pro", "monitors": [job()]}
    [first] = await sign_up(life, pro | {"signup_id": "s-1"})
    assert first == Reply(
        "", "ann", "", "signup", CommandOutcome.REGISTERED, "", "", 0, first.at, signup_id="s-1", partition=0, offset=1
    )
    again, other = await sign_up(life, pro | {"signup_id": "s-1"}, pro | {"attributes": {"n": 1}, "signup_id": "s-2"})
    assert [(r.signup_id, r.answer) for r in (again, other)] == [
        ("s-1", CommandOutcome.UNCHANGED),
        ("s-2", CommandOutcome.UPDATED),
    ]
    assert await sign_up(life, pro) == []


async def test_an_answer_says_up_to_where_the_changelog_makes_it_true(life: Life) -> None:
    def last() -> int:
        return life.broker.last_offset(CHANGELOG)

    signup = {"plan": "pro", "monitors": [job()]}
    [registered] = await sign_up(life, signup | {"signup_id": "s-1"})
    assert (registered.partition, registered.offset) == (0, last())
    [unchanged] = await sign_up(life, signup | {"signup_id": "s-1"})
    assert unchanged.offset == last()
    [paused] = await take(life, TOPICS.commands, {"command": "pause", "monitor_id": "job", "command_id": "c-1"})
    assert paused.offset == last() > registered.offset
    [missing] = await take(life, TOPICS.commands, {"command": "pause", "monitor_id": "none", "command_id": "c-2"})
    assert (missing.code, missing.offset) == ("not_found", last())
    [heard] = await send(life, {"monitor_id": "job", "at": START + 1, "signal_id": "n-1"})
    assert heard.offset == last() > paused.offset
    [wrong] = await send(life, {"monitor_id": "job", "at": "when?", "signal_id": "n-2"})
    assert (wrong.partition, wrong.offset) == (-1, -1)


async def test_a_transition_carries_what_its_readers_would_have_to_look_up(life: Life) -> None:
    site = every("site", "http", url="https://Shop.Example:8443/basket") | {"labels": {"env": "prod"}}
    await sign_up(life, {"plan": "pro", "monitors": [site], "signup_id": "s-1"})
    await life.tick_to(START + 90_000)
    await take(life, TOPICS.commands, {"command": "pause", "monitor_id": "site", "command_id": "c-1"})
    [(_, value)] = life.broker.pairs[TOPICS.transitions]
    told = codec.decode_transition(value)
    assert (told.kind, told.target, told.plan, told.labels) == ("http", "shop.example", "pro", {"env": "prod"})
    assert told.lasted_ms == told.at - START > 0


async def test_a_newcomer_whose_task_is_due_at_once_is_answered_registered_too(life: Life) -> None:
    task = {"monitor_id": "t", "kind": "noop", "schedule": {"in": "0s"}}
    [found] = await sign_up(life, {"plan": "pro", "monitors": [task], "signup_id": "s-1"})
    assert found.answer is CommandOutcome.REGISTERED


ONE_TOO_MANY = {"plan": "free", "attributes": {"site": "a.example"}, "monitors": [job()]}
NEVER_DUE = every("a", "noop") | {"schedule": {"at": START + 9, "end_at": START}}


@pytest.mark.parametrize(
    ("given", "code", "path", "reason"),
    [
        ({"plan": "gold"}, "unknown_plan", "$.plan", "there is no plan 'gold'; there are default, free, pro"),
        ({"plan": "free"}, "missing_attribute", "$.attributes.site", "plan 'free' of "),
        (ONE_TOO_MANY, "quota", "$.monitors", "the plan 'free' allows 1 "),
        ({"monitors": [{"kind": "htpp"}]}, "invalid", "$.monitors[0].kind", "there is no kind 'htpp'"),
        ({"monitors": [NEVER_DUE]}, "invalid", "$.monitors[0].schedule", ""),
        ({"plan": 7}, "invalid", "$.plan", "expected text, got a whole number"),
    ],
)
async def test_a_refused_signup_is_answered_with_code_path_and_reason(
    life: Life, given: dict[str, Any], code: str, path: str, reason: str
) -> None:
    found = await sign_up(life, {"signup_id": "s-0", "plan": "pro"}, given | {"signup_id": "s-1"})
    refused = found[1] if found[0].signup_id == "s-0" else found[0]
    assert (refused.answer, refused.signup_id, refused.code, refused.path) == (
        CommandOutcome.REFUSED,
        "s-1",
        code,
        path,
    )
    assert refused.reason.startswith(reason)
    assert len(life.broker.pairs[TOPICS.dead_letters]) == 1


async def test_who_wants_to_hear_of_refusals_only_hears_of_nothing_else(life: Life) -> None:
    [refused] = await sign_up(
        life,
        {"plan": "pro", "signup_id": "s-1", "reply": "refused", "monitors": [job()]},
        {"plan": "gold", "signup_id": "s-2", "reply": "refused"},
    )
    assert refused.signup_id == "s-2"
    [refused] = await send(
        life,
        {"monitor_id": "job", "at": START + 1, "signal_id": "n-1", "reply": "refused"},
        {"monitor_id": "nobody", "at": START + 1, "signal_id": "n-2", "reply": "refused"},
    )
    assert refused.signal_id == "n-2"


async def test_a_record_of_another_key_is_refused_with_a_code_of_its_own(life: Life) -> None:
    [refused] = await sign_up(life, orjson.dumps({"user_id": "bob", "signup_id": "s-1"}))
    assert (refused.user_id, refused.answer, refused.code) == ("bob", CommandOutcome.REFUSED, "wrong_key")


async def test_signals_with_an_id_are_answered_in_json_and_avro(life: Life) -> None:
    await sign_up(life, {"plan": "pro", "monitors": [job(), every("site", "http", url="http://127.0.0.1:1/")]})
    news, same = await send(
        life,
        {"monitor_id": "job", "at": START + 5, "signal_id": "n-1"},
        avro_schemas.encode("signal", {"user_id": "ann", "monitor_id": "job", "at": START + 5, "signal_id": "n-2"}),
    )
    assert (news.command, news.monitor_id, news.signal_id, news.answer) == ("signal", "job", "n-1", CommandOutcome.DONE)
    assert (same.signal_id, same.answer) == ("n-2", CommandOutcome.UNCHANGED)
    # a plain one that nobody asks about beside them
    assert await send(life, {"monitor_id": "job", "at": START + 7}) == []


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        ({"monitor_id": "nobody"}, "not_found", "$.monitor_id"),
        ({"monitor_id": "site"}, "wrong_kind", "$.monitor_id"),
        ({"monitor_id": "job", "value": 7}, "invalid", "$.value"),
        ({"monitor_id": "job", "at": START + 3_600_000}, "invalid", "$.at"),
        ({"monitor_id": "job", "exit_code": "x"}, "invalid", "$.exit_code"),
    ],
)
async def test_a_refused_signal_is_answered_with_its_code(
    life: Life, given: dict[str, Any], code: str, path: str
) -> None:
    await sign_up(life, {"plan": "pro", "monitors": [job(), every("site", "http", url="http://127.0.0.1:1/")]})
    [refused] = await send(life, {"signal_id": "n-1"} | given)
    assert (refused.answer, refused.signal_id, refused.code, refused.path) == (
        CommandOutcome.REFUSED,
        "n-1",
        code,
        path,
    )
    assert refused.reason


async def test_nothing_is_answered_before_it_is_durable(life: Life) -> None:
    life.broker.held.add(TOPICS.monitors_changelog)
    life.broker.pairs[TOPICS.signups].append(
        (b"ann", orjson.dumps({"user_id": "ann", "plan": "pro", "signup_id": "s"}))
    )
    await until("the user is on the way", lambda: life.broker.queued(TOPICS.monitors_changelog) == 1)
    assert replies(life.broker) == []
    life.broker.held.clear()
    await until("it is answered", lambda: [r.answer for r in replies(life.broker)] == [CommandOutcome.REGISTERED])


async def test_an_id_that_was_that_of_another_request_is_refused_and_changes_nothing(life: Life) -> None:
    await sign_up(life, {"plan": "pro", "signup_id": "s-1"})
    put = {"command": "put", "command_id": "c-1", "monitor_id": "m", "monitor": {"kind": "noop", **EVERY_MINUTE}}
    [done] = await take(life, TOPICS.commands, put | {"request_digest": "one"})
    assert (done.answer, done.version) == (CommandOutcome.DONE, 1)
    other = put | {"monitor": {"kind": "noop", "schedule": {"every": "5m"}}}
    same, reused, unknown = await take(
        life, TOPICS.commands, put | {"request_digest": "one"}, other | {"request_digest": "two"}, other
    )
    assert (same.answer, same.version) == (CommandOutcome.REPEATED, 1)
    assert (reused.answer, reused.code, reused.path) == (CommandOutcome.REFUSED, "reused_key", "$.command_id")
    # who says nothing of what was asked for is answered as before
    assert (unknown.answer, unknown.version) == (CommandOutcome.REPEATED, 1)


async def test_a_purge_with_the_id_of_another_command_is_refused_and_ends_nobody(life: Life) -> None:
    await sign_up(life, {"plan": "pro", "signup_id": "s-1"})
    purge = {"command": "purge", "command_id": "c-1"}
    _, reused, other = await take(
        life, TOPICS.commands, {"command": "pause_user", "command_id": "c-1"}, purge, purge | {"command_id": "c-2"}
    )
    assert (reused.answer, reused.code, reused.path) == (CommandOutcome.REFUSED, "reused_key", "$.command_id")
    # had the first one ended the user, there would be none
    assert other.answer is CommandOutcome.DONE


async def test_the_id_of_a_signup_is_remembered_with_the_digest_of_its_request(life: Life) -> None:
    signup = {"plan": "pro", "signup_id": "s-1", "request_digest": "one"}
    [made] = await sign_up(life, signup)
    assert made.answer is CommandOutcome.REGISTERED
    same, reused, command = (
        await sign_up(life, signup, signup | {"attributes": {"n": 1}, "request_digest": "two"})
    ) + await take(life, TOPICS.commands, {"command": "pause_user", "command_id": "s-1", "request_digest": "three"})
    assert (same.answer, same.signup_id) == (CommandOutcome.REPEATED, "s-1")
    assert (reused.answer, reused.code, reused.path) == (CommandOutcome.REFUSED, "reused_key", "$.signup_id")
    # a key is that of one request, whichever it is
    assert (command.answer, command.code) == (CommandOutcome.REFUSED, "reused_key")
    user = codec.decode_entry(codec.table_key("ann"), life.store.read(0, codec.table_key("ann")) or b"")
    assert user.attributes == {}


async def test_a_pause_says_why_in_the_state_and_may_be_given_another_reason(life: Life) -> None:
    await sign_up(life, {"plan": "pro", "monitors": [every("m", "noop")]})
    pause = {"command": "pause", "monitor_id": "m"}
    outcomes = [
        (await take(life, TOPICS.commands, pause | {"command_id": f"c-{number}"} | more))[0].answer
        for number, more in enumerate([{"reason": "new disks"}, {}, {"reason": "new disks"}, {"reason": "moved"}])
    ]
    assert outcomes == [CommandOutcome.DONE, CommandOutcome.UNCHANGED, CommandOutcome.UNCHANGED, CommandOutcome.DONE]
    told = [codec.decode_transition(value).reason for _, value in life.broker.pairs[TOPICS.transitions]]
    assert told[-1] == "paused: new disks"
    entry = codec.decode_entry(codec.table_key("ann", "m"), life.store.read(0, codec.table_key("ann", "m")) or b"")
    assert entry.reason == "paused: moved"
    [refused] = await take(
        life, TOPICS.commands, {"command": "resume", "monitor_id": "m", "command_id": "r", "reason": "x"}
    )
    assert (refused.answer, refused.path) == (CommandOutcome.REFUSED, "$.reason")
