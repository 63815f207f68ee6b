"""Secrets of configs on the command line: shown only where that is asked for, and encrypted anew by a rotation."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.new_databases import open_new_store
from typer.testing import CliRunner, Result

from everwatch.cli.commands.monitor_set import FieldChanges
from everwatch.cli.main import app
from everwatch.cli.support.run_parts import commands_given
from everwatch.cli.support.schedule_options import ScheduleOptions
from everwatch.core.config import Settings
from everwatch.core.encryption import Cipher, keys_of
from everwatch.core.errors import BrokerUnavailable, EverwatchError, InvalidInput, SettingsError
from everwatch.encoding import avro_schemas
from everwatch.kafka.command_client import Asked
from everwatch.kafka.dead_letter_content import decoded, without_secrets
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import CommandOutcome, Every, Monitor, MonitorSpec, Origin, Reply, User
from everwatch.rules import lifecycle
from everwatch.rules.admission import admit_signup
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch

OLD_KEY = "b2xkIGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE="
NEW_KEY = "bmV3IGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE="
NOW = 1_795_262_400_000
CHANGELOG = Partition("everwatch-monitors-changelog", 3)
PLAIN = '{"bearer":"sesame","secret_headers":{"X-Key":"sesame"},"url":"https://a.example/"}'
secrets_command = importlib.import_module("everwatch.cli.commands.secrets")


def watched(user_id: str, monitor_id: str, config: str, *keys: str, origin: Origin = Origin.COMMAND) -> Monitor:
    spec = MonitorSpec(monitor_id, "http", config, Every(60_000))
    if keys:
        spec = ConfigSecrets(Cipher(keys)).encrypted(spec)
    return lifecycle.first_put(user_id, spec, origin, NOW, NOW)


HELD: list[User | Monitor] = [
    User("ann", "default", {}, ("old",), NOW, NOW),
    watched("ann", "old", PLAIN, OLD_KEY, origin=Origin.SIGNUP),
    watched("ann", "open", '{"url":"https://a.example/"}'),
    User("bea", "default", {}, (), NOW, NOW),
    watched("bea", "plain", PLAIN),
    User("cleo", "default", {}, (), NOW, NOW),
    watched("cleo", "new", PLAIN, NEW_KEY),
]


class NoBroker:
    """Clients of a broker that does not answer."""

    def admin(self) -> None:
        raise BrokerUnavailable("no broker answers")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A database as a sink leaves it, and no key."""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("EVERWATCH_SECRETS_KEY", raising=False)
    entries = [CatalogueEntry(v.user_id, v.monitor_id if isinstance(v, Monitor) else "", v) for v in HELD]
    received = [Received(CHANGELOG, offset, NOW, entry) for offset, entry in enumerate(entries)]
    store = open_new_store(Settings(data_dir=tmp_path))
    store.apply(SinkBatch(NOW, {CHANGELOG: len(received)}, entries=received))
    store.close()
    with commands_given(new_clients=lambda _: NoBroker()):
        yield tmp_path


def say(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def use(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", ",".join(keys))


def test_a_new_key_is_printed_and_taken() -> None:
    one, other = (say("secrets", "generate-key").stdout for _ in range(2))
    assert keys_of(one) == (one.strip(),)
    assert one != other


# --- export ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_has_no_secrets_and_says_so(form: str) -> None:
    done = say("export", "--format", form)
    assert done.exit_code == 0, done.output
    assert "sesame" not in done.stdout
    assert "$encrypted" not in done.stdout
    assert "$redacted" in done.stdout
    assert "3 configs have secrets, which are redacted: --secrets writes them" in done.stderr


def test_a_redacted_export_is_refused_at_import_with_a_reason() -> None:
    rows = say("export").stdout.splitlines()
    with pytest.raises(InvalidInput) as caught:
        admit_signup(rows[0].encode())
    assert caught.value.reason == "the secret is redacted here: give the secret itself, or export it with --secrets"
    assert caught.value.path == "$.monitors[0].config.bearer"


def test_an_export_with_secrets_is_what_was_signed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, NEW_KEY, OLD_KEY)
    done = say("export", "--secrets")
    assert "redacted" not in done.output
    rows = [orjson.loads(line) for line in done.stdout.splitlines()]
    configs = [
        m["config"] for row in rows for m in (*row.get("monitors", []), *([row["monitor"]] if "monitor" in row else []))
    ]
    assert sorted(configs, key=len) == [{"url": "https://a.example/"}, *[orjson.loads(PLAIN)] * 3]
    assert admit_signup(done.stdout.splitlines()[0].encode()).monitors[0].config == PLAIN


def test_an_export_with_secrets_and_without_their_key_names_the_monitor(folder: Path) -> None:
    done = say("export", "--secrets", "--output", str(folder / "all.jsonl"))
    assert isinstance(done.exception, EverwatchError)
    assert str(done.exception) == (
        "The monitor 'old' of user 'ann' cannot be exported: the secret is encrypted, and this process has no"
        " EVERWATCH_SECRETS_KEY (at $.config.bearer)."
    )
    assert not list(folder.glob("all*"))


# --- explain -----------------------------------------------------------------------------------------------------


def test_explain_shows_a_config_without_its_secrets_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = say("explain", "bea", "plain").stdout
    assert '"bearer":{"$redacted":true}' in shown
    assert "https://a.example/" in shown
    assert "sesame" not in shown
    assert orjson.loads(say("explain", "ann", "old", "--json").stdout)["config"]["bearer"] == {"$redacted": True}
    assert '"bearer":"sesame"' in say("explain", "bea", "plain", "--secrets").stdout
    failed = say("explain", "ann", "old", "--secrets").exception
    assert "this process has no EVERWATCH_SECRETS_KEY" in str(failed)
    use(monkeypatch, OLD_KEY)
    assert orjson.loads(say("explain", "ann", "old", "--secrets", "--json").stdout)["config"] == orjson.loads(PLAIN)


# --- dead letters ------------------------------------------------------------------------------------------------

MONITOR = {"monitor_id": "m", "config": {"url": "not one", "bearer": "sesame", "secret_headers": {"A": "sesame"}}}
HIDDEN = {"url": "not one", "bearer": {"$redacted": True}, "secret_headers": {"A": {"$redacted": True}}}


@pytest.mark.parametrize(
    ("name", "document", "redacted"),
    [
        (
            "signup",
            {"user_id": "u", "monitors": [MONITOR]},
            {"user_id": "u", "monitors": [MONITOR | {"config": HIDDEN}]},
        ),
        (
            "command",
            {"command": "put", "monitor": MONITOR},
            {"command": "put", "monitor": MONITOR | {"config": HIDDEN}},
        ),
        # sent to the wrong topic, or as a list
        ("signup", {"command": "put", "monitor": MONITOR}, {"command": "put", "monitor": MONITOR | {"config": HIDDEN}}),
        ("signup", [{"monitors": [MONITOR]}, 1], [{"monitors": [MONITOR | {"config": HIDDEN}]}, 1]),
        # who knows what is a secret of it
        (
            "signup",
            {"monitors": [MONITOR | {"kind": "htpt"}]},
            {"monitors": [MONITOR | {"kind": "htpt", "config": {"$redacted": True}}]},
        ),
        ("signup", {"monitors": [MONITOR | {"config": "sesame"}]}, {"monitors": [MONITOR | {"config": "sesame"}]}),
        ("signup", {"monitors": "none"}, {"monitors": "none"}),
        ("signal", {"user_id": "u", "value": 1}, {"user_id": "u", "value": 1}),
    ],
)
def test_a_dead_letter_is_shown_without_secrets(name: str, document: Any, redacted: Any) -> None:
    assert without_secrets(name, decoded(name, orjson.dumps(document))).value == redacted


def test_a_dead_letter_in_avro_is_shown_without_secrets() -> None:
    tick = {
        "monitor_id": "m", "kind": "http", "config": PLAIN, "timeout_ms": 1, "version": 1, "attempt": 1,
        "may_overlap": False, "manual": False, "payload": "",
    }  # fmt: skip
    content = without_secrets("tick", decoded("tick", avro_schemas.encode("tick", tick)))
    assert content.value["config"]["bearer"] == {"$redacted": True}


@pytest.mark.parametrize("data", [b'{"bearer": "sesame", ', b"\xc3\x01 bearer sesame", b"password=sesame"])
def test_what_cannot_be_read_but_may_hold_a_secret_is_not_shown(data: bytes) -> None:
    content = without_secrets("signup", decoded("signup", data))
    assert content.value == "(it may hold a secret: --secrets shows it)"
    assert content.problem


def test_what_cannot_be_read_and_sounds_harmless_is_shown() -> None:
    content = decoded("signup", b'{"user_id": ')
    assert without_secrets("signup", content) is content


# --- changing one field ------------------------------------------------------------------------------------------


def changed(spec: MonitorSpec, *keys: str, **documents: Any) -> dict[str, Any]:
    changes = FieldChanges(ScheduleOptions(every="10s"), None, {}, (), documents)
    said = changes.of(spec, ConfigSecrets(Cipher(keys) if keys else None))
    return orjson.loads(orjson.dumps(said))["config"]


def test_a_monitor_whose_secrets_are_encrypted_is_put_again_with_them() -> None:
    spec = watched("ann", "m", PLAIN, OLD_KEY).spec
    assert changed(spec, NEW_KEY, OLD_KEY) == orjson.loads(PLAIN)
    assert changed(spec, OLD_KEY, config={"bearer": "hush"}) == orjson.loads(PLAIN) | {"bearer": "hush"}
    with pytest.raises(SettingsError, match=r"this process has no EVERWATCH_SECRETS_KEY .*: set it here as executors"):
        changed(spec)
    # what is given anew needs no key
    new = {"bearer": "hush", "secret_headers": {"X-Key": "hush"}}
    assert changed(spec, config=new) == orjson.loads(PLAIN) | new


# --- rotation ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """The users that workers are asked to encrypt anew; they change ann and find nothing to do for anybody else."""
    found: list[str] = []
    answers = {"ann": CommandOutcome.DONE, "eve": CommandOutcome.REFUSED}

    class Link:
        def ask(self, inputs: Any) -> Iterator[tuple[Asked, Reply]]:
            for each in inputs:
                assert each.asker.command == "reencrypt_user"
                found.append(each.asker.user_id)
                answer = answers.get(each.asker.user_id, CommandOutcome.UNCHANGED)
                yield each, Reply("", each.asker.user_id, "", "reencrypt_user", answer, "no user", "", 0, NOW)

    @contextmanager
    def connected(*_: object) -> Iterator[Link]:
        yield Link()

    with commands_given(connect=connected):
        yield found


def test_rotation_asks_for_whoever_is_not_encrypted_with_the_first_key(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    use(monkeypatch, NEW_KEY, OLD_KEY)
    told = orjson.loads(say("secrets", "rotate", "--dry-run", "--json").stdout)
    assert (told, asked) == (
        {"users": 2, "monitors": 2, "unreadable": 0, "refused": 0, "encrypted": 0, "unchanged": 0},
        [],
    )
    done = say("secrets", "rotate", "--user", "ann")
    assert (done.exit_code, asked) == (0, ["ann"]), done.output
    assert done.stdout == "1 monitors of 1 users are to be encrypted anew\ndone for 1 users\n"
    done = say("secrets", "rotate")
    assert (done.exit_code, asked[1:]) == (1, ["ann", "bea"])
    assert "1 users were not changed: do workers have the same keys?" in done.stderr


def test_rotation_names_what_no_key_reads(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    use(monkeypatch, NEW_KEY)
    done = say("secrets", "rotate")
    assert done.exit_code == 1
    assert "cannot be read with these keys: ann/old; put it again" in done.stderr
    assert asked == ["bea"]


def test_rotation_without_a_key_says_what_is_missing(asked: list[str]) -> None:
    assert "Set EVERWATCH_SECRETS_KEY, the new key first" in str(say("secrets", "rotate").exception)
