"""Links in messages that acknowledge incidents: signed, over after some days, and nothing happens by opening one."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import orjson
import pytest
from support.api import Api, api
from support.notifying import HOUR, MAIL, MAIL_AT_ONCE, MINUTE, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.ack_links import AckKey, key_of, key_text, new_secret
from everwatch.notifier.addresses import EmailAddress, SlackAddress, WebhookAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.routes import Relay
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.senders.mail import mail_of
from everwatch.notifier.senders.over_http import post_of
from everwatch.schedule.duration import DAY_MS

RULES = f"""{MAIL_AT_ONCE}
[acknowledge]
url = "https://alerts.example.com/"
valid = "2d"

[[operators]]
name = "ops"
email = {{ to = "ops@example.com" }}
"""
OPS = "ops@example.com"


@pytest.fixture
async def notifying(tmp_path: Path) -> AsyncIterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path), rules=RULES)
    with made.storage.begin() as work:
        work.make_link_secret()
    await made.go_down("ann", "bob")
    yield made
    made.close()


@pytest.fixture
async def server(notifying: Notifying) -> AsyncIterator[Api]:
    async with api() as running:
        running.stand_beside(notifying)
        yield running


def messages(notifying: Notifying, to: str = OPS) -> list[Message]:
    return [m for a, m in notifying.receiver.got if isinstance(a, MAIL) and a.to == to]


def path_of(notifying: Notifying) -> str:
    link = messages(notifying)[0].ack_link
    assert link.startswith("https://alerts.example.com/ack/")
    return link.removeprefix("https://alerts.example.com")


async def test_opening_the_link_changes_nothing_and_its_button_acknowledges_what_the_message_told(
    server: Api, notifying: Notifying
) -> None:
    path = path_of(notifying)
    for method in ("GET", "HEAD", "GET"):
        shown = await server.call(method, path, token=None)
        assert (shown.status, shown.headers["Cache-Control"]) == (200, "no-store")
        assert "form-action 'self'" in shown.headers["Content-Security-Policy"]
    assert "ann/shop" in shown.data.decode()
    assert "bob/shop" in shown.data.decode()
    incidents = (await server.call("GET", "/v1/incidents")).json["items"]
    assert [each["ack"] for each in incidents] == [None, None]
    assert not [each for each in server.audit.entries if each.command == "ack"]
    action, _snooze = re.findall(r'action="([^"]+)"', shown.data.decode())
    done = await server.call("POST", unescape(action), token=None, body=b"")
    assert (done.status, b"acknowledged by" in done.data, b"<form" in done.data) == (200, True, False)
    incidents = (await server.call("GET", "/v1/incidents")).json["items"]
    assert len({each["ack"]["acked_by"] for each in incidents}) == 1
    assert [(each.command, each.user_id, each.outcome) for each in server.audit.entries] == [
        ("ack", "ann", "done"), ("ack", "bob", "done"),
    ]  # fmt: skip
    assert server.audit.entries[0].token_name.endswith("(link)")
    before = len(messages(notifying))
    notifying.tell(transition("down", "down", 3_000, "ann", reminder=True))
    await notifying.later(HOUR)
    assert len(messages(notifying)) == before, "no reminder of what was acknowledged"
    again = await server.call("POST", path, token=None, body=b"")
    assert (again.status, len(server.audit.entries)) == (200, 2), "nothing is left to do"


async def test_a_button_of_the_link_snoozes_what_the_message_told(server: Api, notifying: Notifying) -> None:
    path = path_of(notifying)
    form = {"token": None, "Content_Type": "application/x-www-form-urlencoded"}
    for wrong in (b"snooze=9y", b"snooze=\xff", b"snooze="):
        assert (await server.call("POST", path, body=wrong, **form)).code == "invalid_form"
    buttons = re.findall(r'name="snooze" value="(\w+)"', (await server.call("GET", path, token=None)).data.decode())
    assert buttons == ["1h", "4h", "24h"]
    done = await server.call("POST", path, body=b"snooze=4h", **form)
    assert (done.status, b"<h1>Snoozed</h1>" in done.data, b"snoozed until" in done.data) == (200, True, True)
    incidents = (await server.call("GET", "/v1/incidents")).json["items"]
    assert {each["ack"]["snoozed_until"] for each in incidents} == {server.clock.now_ms() + 4 * HOUR}
    assert [(each.command, each.user_id) for each in server.audit.entries] == [("snooze", "ann"), ("snooze", "bob")]
    before = len(messages(notifying))
    await notifying.later(2 * HOUR)
    assert len(messages(notifying)) == before


async def test_an_incident_that_is_over_is_said_and_a_later_one_is_not_acknowledged(
    server: Api, notifying: Notifying
) -> None:
    path = path_of(notifying)
    for user in ("ann", "bob"):
        notifying.tell(transition("down", "up", 100, user), transition("up", "down", 3_000, user))
    await notifying.later(2 * HOUR)
    shown = await server.call("GET", path, token=None)
    assert (b"Nothing is left" in shown.data, b"<form" in shown.data) == (True, False)
    await server.call("POST", path, token=None, body=b"")
    assert {each["ack"] for each in (await server.call("GET", "/v1/incidents")).json["items"]} == {None}


async def test_a_link_is_over_after_its_time(server: Api, notifying: Notifying) -> None:
    path = path_of(notifying)
    server.clock.advance(2 * DAY_MS)
    for method in ("GET", "POST"):
        over = await server.call(method, path, token=None, body=b"" if method == "POST" else None)
        assert (over.status, b"<form" in over.data) == (410, False)
    assert {each["ack"] for each in (await server.call("GET", "/v1/incidents")).json["items"]} == {None}


async def test_a_link_that_was_never_made_is_none(server: Api, notifying: Notifying) -> None:
    path = path_of(notifying)
    body, _, mac = path.rpartition(".")
    prefix, _, expires = body.rpartition(".")
    later = f"{int(expires, 16) + DAY_MS:x}"
    for wrong in (
        f"{prefix}.{later}.{mac}",
        f"{body}.",
        f"{path}x",
        "/ack/x",
        "/ack/.",
        "/ack/%00",
        f"/ack/{'a' * 900}",
    ):
        assert (await server.call("GET", wrong, token=None)).status == 404, wrong
        assert (await server.call("POST", wrong, token=None, body=b"")).status == 404, wrong


async def test_without_the_notifiers_database_it_says_so(server: Api, notifying: Notifying) -> None:
    path = path_of(notifying)
    async with api() as alone:
        assert (await alone.call("GET", path, token=None)).code == "no_notifier"


async def test_users_get_links_only_where_the_rules_say_so_and_an_end_has_none(notifying: Notifying) -> None:
    assert [m.ack_link for m in messages(notifying, "ann@example.com")] == [""]
    notifying.tell(transition("down", "up", 100, "ann"), transition("down", "up", 100, "bob"))
    await notifying.later(10 * MINUTE)
    assert messages(notifying)[-1].ack_link == ""
    notifying.rules = rules_of(RULES.replace('"2d"', '"2d"\nusers = true').encode(), Path("notify.toml"))
    notifying.tell(transition("up", "down", 2_000, "ann"))
    await notifying.later(HOUR)
    assert messages(notifying, "ann@example.com")[-1].ack_link.startswith("https://alerts.example.com/ack/")


async def test_mail_chat_and_webhooks_carry_it(notifying: Notifying) -> None:
    [message] = messages(notifying)
    relay = Relay("127.0.0.1", 25, "none", "alerts@example.com")
    mail = mail_of(relay, EmailAddress(to=OPS), message)
    assert f"\nTo acknowledge or snooze: {message.ack_link}\n" in mail.get_content()
    slack = orjson.loads(post_of(SlackAddress(url="https://hooks.slack.com/x"), message, 0).body)
    assert slack["text"].endswith(f"\n<{message.ack_link}|Acknowledge or snooze>")
    hook = post_of(WebhookAddress(url="https://hooks.example/", secret="whsec_" + "A" * 32), message, 0)
    assert orjson.loads(hook.body)["data"]["acknowledge"] == message.ack_link


def test_a_key_is_read_with_its_own_secret_alone() -> None:
    ours, theirs = bytes.fromhex(new_secret()), bytes.fromhex(new_secret())
    key = AckKey("6f0b9c1e-7f5a-5d0a-9c55-2a1f5a3a7e11", 1_800_000_000_000)
    text = key_text(ours, key)
    assert key_of(ours, text) == key
    assert key_of(theirs, text) is None


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ('url = "alerts.example.com"', "acknowledge.url"),
        ('url = "https://alerts.example.com/?a=b"', "acknowledge.url"),
        ('url = "https://alerts.example.com"\nvalid = "0s"', "acknowledge.valid"),
        ('url = "https://alerts.example.com"\nvalid = "8d"', "acknowledge.valid"),
        ('valid = "7d"', "acknowledge"),
    ],
)
def test_rules_that_make_no_links_are_refused(table: str, field: str) -> None:
    with pytest.raises(WrongRules) as wrong:
        rules_of(f"[acknowledge]\n{table}\n".encode(), Path("notify.toml"))
    assert wrong.value.field == field
