"""Tests of what a worker stores of secrets: ciphertext alone, which stays as it is until there is a new key."""

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.pipeline import every
from support.worker import CHANGELOG, START, TOPICS, Broker, Life, until, worker

from everwatch.core.clock import SettableClock
from everwatch.core.encryption import Cipher
from everwatch.encoding import codec
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import Monitor, State, Transition

OLD_KEY = "b2xkIGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE="
NEW_KEY = "bmV3IGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE="
SECRET = b"sesame-open-4711"
URL = "http://127.0.0.1:1/"
SITE = every("site", "http", url=URL, bearer=SECRET.decode())
CANONICAL = f'{{"bearer":"{SECRET.decode()}","url":"{URL}"}}'
PLANS = f"""
[[plans.gold.monitors]]
monitor_id = "of-plan"
config = {{ url = "{URL}", secret_headers = {{ X-Key = "{SECRET.decode()}" }} }}
"""
INPUTS = (TOPICS.signups, TOPICS.commands)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Broker:
    (tmp_path / "plans.toml").write_text(PLANS)
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(tmp_path / "plans.toml"))
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", OLD_KEY)
    return Broker()


async def take(life: Life, topic: str, *inputs: dict[str, Any]) -> None:
    life.broker.pairs[topic] += [(b"ann", orjson.dumps({"user_id": "ann"} | each)) for each in inputs]
    await until("the inputs are taken", lambda: life.broker.is_acknowledged(topic))


def stored(broker: Broker, monitor_id: str) -> Monitor:
    """A monitor as the changelog has it last."""
    key = codec.table_key("ann", monitor_id)
    *_, value = (value for at, value in broker.pairs[CHANGELOG] if at == key)
    found = codec.decode_entry(key, value)
    assert isinstance(found, Monitor)
    return found


def plain(config: str, *keys: str) -> str:
    return ConfigSecrets(Cipher(keys)).decrypted(registry.kind_named("http"), config)


def assert_stored_nowhere(broker: Broker, life: Life, folder: Path) -> None:
    written = {
        topic
        for topic in broker.topic_names()
        if any(SECRET in (entry.value or b"") for log in broker.logs(topic) for entry in log.entries)
    }
    assert written <= set(INPUTS)
    files = [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    assert files == []
    planned = life.engine.planner.entry_of(stored(broker, "site"))
    assert planned is not None
    assert SECRET not in planned.record


async def test_what_a_worker_stores_and_sends_has_no_secret(broker: Broker, tmp_path: Path) -> None:
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        await take(life, TOPICS.signups, {"monitors": [SITE]})
        await take(
            life, TOPICS.commands, {"command": "put", "monitor_id": "own", "monitor": SITE | {"monitor_id": "own"}}
        )
        # another plan adds its monitors to what is stored
        await take(life, TOPICS.commands, {"command": "set_user", "plan": "gold"})
        assert await life.tick_to(START + 5_000)
        assert_stored_nowhere(broker, life, tmp_path / "worker")
    for name in ("site", "own"):
        assert plain(stored(broker, name).spec.config, OLD_KEY) == CANONICAL
    of_plan = plain(stored(broker, "of-plan").spec.config, OLD_KEY)
    assert orjson.loads(of_plan)["secret_headers"] == {"X-Key": SECRET.decode()}


async def test_the_same_signup_again_writes_nothing_also_after_a_restart(broker: Broker, tmp_path: Path) -> None:
    for _ in range(2):
        async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
            for _ in range(2):
                await take(life, TOPICS.signups, {"monitors": [SITE]})
    assert [key for key, _ in broker.pairs[CHANGELOG]].count(codec.table_key("ann", "site")) == 1


async def test_a_new_key_encrypts_anew_and_nothing_else_changes(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        await take(life, TOPICS.signups, {"monitors": [SITE, every("open", "http", url=URL)]})
    before = stored(broker, "site")
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", f"{NEW_KEY},{OLD_KEY}")
    async with worker(broker, tmp_path / "worker", SettableClock(START + 1_000)) as life:
        written = len(broker.pairs[CHANGELOG])
        await take(life, TOPICS.commands, {"command": "reencrypt_user", "command_id": "c-1"})
        keys = [key for key, _ in broker.pairs[CHANGELOG][written:]]
        assert codec.table_key("ann", "site") in keys
        assert codec.table_key("ann", "open") not in keys
        after = stored(broker, "site")
        assert plain(after.spec.config, NEW_KEY) == CANONICAL
        assert (after.version, after.since, after.state) == (before.version, before.since, State.NEW)
        # the ticks from now on are encrypted with it, too, and none is missed
        assert len(await life.tick_to(START + 5_000)) >= 8
        planned = life.engine.planner.entry_of(after)
        assert planned is not None
        assert after.spec.config.encode() in planned.record
        # once more: there is nothing left to do
        written = len(broker.pairs[CHANGELOG])
        await take(life, TOPICS.commands, {"command": "reencrypt_user"})
        await take(life, TOPICS.signups, {"monitors": [SITE, every("open", "http", url=URL)]})
        assert codec.table_key("ann", "site") not in [key for key, _ in broker.pairs[CHANGELOG][written:]]
    transitions: list[Transition] = [codec.decode_transition(value) for _, value in broker.pairs[TOPICS.transitions]]
    assert transitions == []
    answers = [codec.decode_reply(value).answer for _, value in broker.pairs[TOPICS.replies]]
    assert answers == ["done"]


async def test_a_worker_without_a_key_stores_what_it_is_given_says_so_once_and_touches_nothing_else(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        await take(life, TOPICS.signups, {"monitors": [SITE]})
    kept = stored(broker, "site")
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", "")
    caplog.set_level(logging.WARNING)
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        put = {"command": "put", "monitor_id": "own", "monitor": SITE | {"monitor_id": "own"}}
        await take(life, TOPICS.commands, put, put | {"monitor_id": "2", "monitor": SITE | {"monitor_id": "2"}})
        await take(life, TOPICS.commands, {"command": "reencrypt_user"}, {"command": "pause", "monitor_id": "site"})
        assert stored(broker, "own").spec.config == CANONICAL
        assert stored(broker, "site").spec == kept.spec
        assert stored(broker, "site").state is State.PAUSED
    assert sum("EVERWATCH_SECRETS_KEY is not set" in message for message in caplog.messages) == 1


async def test_what_stands_for_a_secret_is_refused_and_the_rest_of_the_batch_taken(
    broker: Broker, tmp_path: Path
) -> None:
    redacted = every("site", "http", url=URL, bearer={"$redacted": True})
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        await take(life, TOPICS.signups, {"monitors": [redacted], "signup_id": "s-1"}, {"monitors": [SITE]})
        assert plain(stored(broker, "site").spec.config, OLD_KEY) == CANONICAL
    [reply] = [codec.decode_reply(value) for _, value in broker.pairs[TOPICS.replies]]
    assert (reply.answer, reply.path) == ("refused", "$.monitors[0].config.bearer")
    assert reply.reason.startswith("the secret is redacted here")


async def test_a_worker_without_the_key_refuses_to_store_in_plain_text_what_is_stored_encrypted(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        await take(life, TOPICS.signups, {"monitors": [SITE]})
    kept = stored(broker, "site")
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", "")
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        await take(life, TOPICS.signups, {"monitors": [SITE], "signup_id": "s-1"})
        put = {"command": "put", "monitor_id": "site", "monitor": SITE, "command_id": "c-1"}
        await take(life, TOPICS.commands, put)
        assert stored(broker, "site") == kept
    replies = [codec.decode_reply(value) for _, value in broker.pairs[TOPICS.replies]]
    assert [reply.answer for reply in replies] == ["refused", "refused"]
    assert all("has no EVERWATCH_SECRETS_KEY" in reply.reason for reply in replies)
