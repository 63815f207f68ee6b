"""Apprise by its program: what it is given, and what its end means. The program here is a script in its place."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from support.notifying import Receiver, transition
from support.waiting import wait_until

from everwatch.notifier.addresses import AppriseAddress, WebhookAddress
from everwatch.notifier.alerts import Alert, Message
from everwatch.notifier.incidents import after_transition
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.senders import lane_of
from everwatch.notifier.senders.apprise import AppriseSender
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict

URLS = "tgram://123:secret/456 mailtos://user:pass@example.com\n"
PROGRAM = """#!{python}
import json, os, sys
note = {{"arguments": sys.argv[1:], "text": sys.stdin.read(), "environment": dict(os.environ)}}
open({notes!r}, "w").write(json.dumps(note))
print("Failed to send to tgram://123:secret/456")
sys.exit({status})
"""
STARTS_ANOTHER = """#!{python}
import os, signal
pipe = os.open({pipe!r}, os.O_WRONLY)
if os.fork() == 0:
    signal.alarm(600)
    os.write(pipe, b"ready")
signal.pause()
"""


def program(folder: Path, status: int = 0) -> str:
    file = folder / "apprise"
    file.write_text(PROGRAM.format(python=sys.executable, notes=str(folder / "note"), status=status))
    file.chmod(0o700)
    return str(file)


def read_of(pipe: int) -> bytes | None:
    """Return what is in a pipe: b"" if nobody holds its other end, None if somebody does and writes nothing."""
    try:
        return os.read(pipe, 100)
    except BlockingIOError:
        return None


def message() -> Message:
    alerts: tuple[Alert, ...] = after_transition(None, transition("up", "down")).alerts
    return Message("m-1", "apprise", "", 0, alerts)


async def test_the_program_gets_title_text_and_urls_and_no_secret_as_an_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERWATCH_SASL_PASSWORD", "kafka's")
    address = AppriseAddress(urls=URLS, program=program(tmp_path))
    outcome = await AppriseSender(Receiver()).send(address, message(), from_user=False)
    assert outcome == AttemptOutcome(Verdict.SENT, "Apprise's services took it")
    note = json.loads((tmp_path / "note").read_text())
    assert note["arguments"] == ["--title=DOWN: shop"]
    assert note["text"].startswith("DOWN: shop (u-1/shop, http, shop.example): status 500")
    assert note["environment"]["APPRISE_URLS"] == "tgram://123:secret/456 mailtos://user:pass@example.com"
    assert "EVERWATCH_SASL_PASSWORD" not in note["environment"]


async def test_a_service_that_fails_is_tried_again_and_what_the_program_says_is_kept_nowhere(tmp_path: Path) -> None:
    address = AppriseAddress(urls=URLS, program=program(tmp_path, status=1))
    outcome = await AppriseSender(Receiver()).send(address, message(), from_user=False)
    assert outcome.verdict is Verdict.FAILED
    assert "ended with status 1" in outcome.reason
    assert "secret" not in outcome.reason


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "there is no program"), ("not a program\n", "cannot be run: Exec format error")]
)
async def test_a_program_that_is_missing_or_none_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    file = tmp_path / "apprise"
    if text is not None:
        file.write_text(text)
        file.chmod(0o700)
    address = AppriseAddress(urls=URLS, program=str(file))
    outcome = await AppriseSender(Receiver()).send(address, message(), from_user=False)
    assert outcome.verdict is Verdict.FAILED
    assert reason in outcome.reason


async def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "apprise"
    file.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(100_000)\n")
    file.chmod(0o700)
    sender = AppriseSender(Receiver(), timeout_s=0.2)
    outcome = await sender.send(AppriseAddress(urls=URLS, program=str(file)), message(), from_user=False)
    assert outcome.reason.endswith("did not end within 0.2 s")


async def test_what_the_program_has_started_is_ended_with_it(tmp_path: Path) -> None:
    file, pipe = tmp_path / "apprise", tmp_path / "pipe"
    os.mkfifo(pipe)
    file.write_text(STARTS_ANOTHER.format(python=sys.executable, pipe=str(pipe)))
    file.chmod(0o700)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        address = AppriseAddress(urls=URLS, program=str(file))
        attempt = asyncio.create_task(AppriseSender(Receiver()).send(address, message(), from_user=False))
        await asyncio.to_thread(wait_until, "the program has started another", lambda: read_of(reading) == b"ready")
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        # the end of the pipe: nobody holds it any more
        await asyncio.to_thread(wait_until, "both have ended", lambda: read_of(reading) == b"")
    finally:
        os.close(reading)


async def test_all_else_goes_the_other_way() -> None:
    others = Receiver()
    await AppriseSender(others).send(WebhookAddress("https://hooks.example/"), message(), from_user=True)
    assert others.summaries(WebhookAddress) == ["opened"]


def test_an_operators_route_names_urls_as_a_list_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(URLS)
    listed = '[[operators]]\nname = "a"\napprise = { urls = ["ntfys://topic", "tgram://1/2"] }\n'
    in_file = '[[operators]]\nname = "b"\napprise = { urls = { file = "urls" } }\n'
    rules = rules_of((listed + in_file).encode(), tmp_path / "notify.toml")
    addresses = [route.address(None) for route in rules.routes]
    assert [address.shown for address in addresses] == ["ntfys, tgram", "tgram, mailtos"]
    assert {lane_of(address) for address in addresses} == {"apprise"}


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ('[[users]]\nname = "a"\napprise = { urls = "tgram://1/2" }\n', "for operators' routes"),
        ('[[operators]]\nname = "a"\napprise = { urls = [] }\n', "urls"),
        ('[[operators]]\nname = "a"\napprise = { urls = ["--config=/etc/x"] }\n', "not URLs of Apprise"),
        ('[[operators]]\nname = "a"\napprise = { urls = ["tgram://1/2"], program = "-c" }\n', "not a program"),
        ('[[operators]]\nname = "a"\napprise = { urls = ["tgram://1/\\u0000"] }\n', "not URLs of Apprise"),
        ('[[operators]]\nname = "a"\napprise = { urls = "tgram://1/\\u0007" }\n', "not URLs of Apprise"),
        ('[[operators]]\nname = "a"\napprise = { urls = ["tgram://1/2"], program = "a\\u0000" }\n', "not a program"),
    ],
)
def test_rules_that_cannot_be_right_are_refused(rules: str, reason: str) -> None:
    with pytest.raises(WrongRules, match=reason):
        rules_of(rules.encode(), Path("notify.toml"))
