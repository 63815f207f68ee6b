"""Real receivers on the loopback address: what each kind gets, and what their worst answers mean.

All in one file: one case for each receiver, on the same servers.
"""

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook
from support.authority import Authority
from support.notifying import START, open_http_sender, transition
from support.raw_http import RawServer, answer, open_raw_server
from support.tls_server import TlsServer

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver
from everwatch.notifier.addresses import (
    AlertmanagerAddress,
    EmailAddress,
    PagerDutyAddress,
    SlackAddress,
    WebhookAddress,
)
from everwatch.notifier.alerts import Alert, Message
from everwatch.notifier.grouping import message_of
from everwatch.notifier.incidents import after_transition
from everwatch.notifier.routes import Relay
from everwatch.notifier.senders.mail import MailSender
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict, said_of
from everwatch.notifier.senders.over_http import HttpSender, post_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DOWN = after_transition(None, transition("up", "down", labels={"team": "shop"}))
UP = after_transition(DOWN.incident, transition("down", "up", 240))


def message(*alerts: Alert, user_id: str = "u-1") -> Message:
    return message_of("route", user_id, "group", list(alerts or DOWN.alerts), ["1"], START)


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with open_http_sender() as made:
        yield made


@pytest.fixture
async def own_machine() -> AsyncIterator[HttpSender]:
    """A sender whose guard lets users' addresses be of this machine."""
    clock = SystemClock()
    resolver = Resolver(clock)
    client = HttpClient(clock, Guard((ip_network("127.0.0.0/8"),)), resolver, Egress(), kept_each=3)
    yield HttpSender(clock, client, client)
    await client.close()
    await resolver.close()


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with open_raw_server() as raw:
        yield raw


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 2")
    await writer.drain()


@pytest.mark.parametrize(
    ("given", "verdict", "says"),
    [
        (answer(b"", status="204 No Content"), Verdict.SENT, "status 204"),
        # the status says that it is taken; what breaks off after it does not matter
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Verdict.SENT, "status 200"),
        (half, Verdict.FAILED, ""),
        (hang, Verdict.FAILED, "no answer within 0.5 s"),
        (answer(b"busy", "Retry-After: 120", status="429 Too Many Requests"), Verdict.FAILED, "status 429: busy"),
        (answer(b"", status="410 Gone"), Verdict.GONE, "status 410"),
        (answer(b"", status="400 Bad Request"), Verdict.FAILED, "status 400"),
        (
            answer(b"", "Location: http://127.0.0.1:9/", status="302 Found"),
            Verdict.FAILED,
            "status 302 (redirects are not followed)",
        ),
        (b"not HTTP at all\r\n\r\n", Verdict.FAILED, ""),
    ],
    ids=["taken", "body breaks off", "status breaks off", "hangs", "429", "410", "400", "redirects", "no HTTP"],
)
async def test_what_a_receivers_answer_means(
    sender: HttpSender,
    server: RawServer,
    monkeypatch: pytest.MonkeyPatch,
    given: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]],
    verdict: Verdict,
    says: str,
) -> None:
    if given is hang:
        sender.timeout_s = 0.5
    server.answers["/hook"] = given
    outcome = await sender.send(WebhookAddress(server.url("/hook")), message(), from_user=False)
    assert outcome.verdict is verdict
    assert says in outcome.reason
    assert len(server.requests) == 1
    if b"429" in (given if isinstance(given, bytes) else b""):
        assert outcome.retry_after_ms == 120_000


async def test_a_users_address_passes_the_guard_and_an_operators_need_not(
    sender: HttpSender, server: RawServer
) -> None:
    server.answers["/hook"] = answer(b"")
    address = WebhookAddress(server.url("/hook"))
    refused = await sender.send(address, message(), from_user=True)
    assert refused.verdict is Verdict.FAILED
    assert "is a loopback address, which checks may not reach" in refused.reason
    # else a user could close the way to a server of the operators' by naming it
    assert not refused.is_servers
    assert server.requests == []
    assert (await sender.send(address, message(), from_user=False)).verdict is Verdict.SENT


async def test_connections_are_kept_to_an_address_of_the_rules_and_to_none_that_users_choose(
    own_machine: HttpSender,
) -> None:
    """What one user made a server say must not be read as the answer to another's message."""
    peers: list[object] = []
    together = asyncio.Barrier(3)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                [length] = re.findall(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length))
                peers.append(writer.get_extra_info("peername"))
                if head.startswith(b"POST /together"):
                    await together.wait()
                if head.startswith(b"POST /hangs-up") and len(peers) == 2:
                    # as one does that has just given up a connection without a request
                    break
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def connections(*whose: str, path: str = "/", at_once: bool = False) -> int:
        peers.clear()
        address = WebhookAddress(f"http://127.0.0.1:{port}{path}")
        sent = [own_machine.send(address, message(), from_user=True, whose=each) for each in whose]
        outcomes = await asyncio.gather(*sent) if at_once else [await each for each in sent]
        assert [each.verdict for each in outcomes] == [Verdict.SENT] * len(whose)
        return len(set(peers))

    server = await asyncio.start_server(take, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    assert await connections("", "", "") == 1
    assert await connections("u-1", "u-2", "u-1", "u-2") == 4
    assert await connections("", "u-1", "", "u-2") == 3
    assert await connections("", "", "", path="/together", at_once=True) == 3
    assert await connections("", "", "", path="/together", at_once=True) == 3
    known = set(peers)
    await connections("", "")
    assert set(peers) < known, "all three are kept"
    peers.clear()
    assert await connections("", path="/hangs-up") == 1
    kept = set(peers)
    address = WebhookAddress(f"http://127.0.0.1:{port}/hangs-up")
    outcome = await own_machine.send(address, message(), from_user=True)
    assert (outcome.verdict, len(peers)) == (Verdict.SENT, 3), "once more, on another connection"
    assert set(peers) > kept
    server.close()


async def test_a_receiver_whose_certificate_has_expired_is_tried_again_and_says_so(authority: Authority) -> None:
    server = TlsServer(authority.certificate("IP:127.0.0.1", days=-3.5))
    clock = SystemClock()
    resolver = Resolver(clock)
    client = HttpClient(clock, Guard((ip_network("127.0.0.0/8"),)), resolver, Egress(str(authority.path)))
    trusting = HttpSender(clock, client, client)
    outcome = await trusting.send(WebhookAddress(f"https://127.0.0.1:{server.port}/"), message(), from_user=False)
    assert (outcome.verdict, outcome.is_servers) == (Verdict.FAILED, True)
    assert "expired" in outcome.reason
    assert server.heard == []
    server.close()
    await client.close()
    await resolver.close()


async def test_a_mail_server_whose_certificate_has_expired_gets_no_mail(authority: Authority) -> None:
    server = TlsServer(authority.certificate("IP:127.0.0.1", days=-3.5))
    mail = MailSender(SystemClock(), str(authority.path))
    outcome = await mail.send(Relay("127.0.0.1", server.port, "tls", "a@example.com"), ADA, message())
    assert (outcome.verdict, outcome.is_servers) == (Verdict.FAILED, True)
    assert "expired" in outcome.reason
    server.close()


async def test_nobody_listens(sender: HttpSender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = await sender.send(SlackAddress(f"http://127.0.0.1:{port}/"), message(), from_user=False)
    assert outcome == AttemptOutcome(Verdict.FAILED, f"connection refused by 127.0.0.1:{port}", is_servers=True)


def test_a_webhook_is_signed_as_standard_webhooks_says() -> None:
    post = post_of(WebhookAddress("https://hooks.example/", SECRET, {"X-Own": "1"}), message(), START)
    headers = post.headers | {"webhook-timestamp": post.headers["webhook-timestamp"]}
    assert headers["webhook-id"] == message().message_id
    assert headers["X-Own"] == "1"
    # its time is not today's
    import time

    now = int(time.time())
    fresh = post_of(WebhookAddress("https://hooks.example/", SECRET), message(), now * 1_000)
    told: dict[str, Any] = Webhook(SECRET).verify(fresh.body, fresh.headers)
    assert told["type"] == "everwatch.alerts"
    [alert] = told["data"]["alerts"]
    assert (alert["kind"], alert["monitor_id"], alert["severity"]) == ("opened", "shop", "critical")


def test_slack_gets_text_in_which_nothing_is_a_link_or_a_mention() -> None:
    alerts = after_transition(None, transition("up", "down", reason="<!channel> & co")).alerts
    text = json.loads(post_of(SlackAddress("https://hooks.slack.example/T/B/x"), message(*alerts), START).body)["text"]
    assert "&lt;!channel&gt; &amp; co" in text
    assert text.startswith("*DOWN: shop*")


def test_pagerduty_gets_a_trigger_and_then_a_resolve_of_the_same_incident() -> None:
    address = PagerDutyAddress("R0123")
    down, up = (json.loads(post_of(address, message(*step.alerts), START).body) for step in (DOWN, UP))
    assert (down["event_action"], up["event_action"]) == ("trigger", "resolve")
    assert down["dedup_key"] == up["dedup_key"]
    assert down["payload"]["severity"] == "critical"
    assert down["payload"]["source"] == "shop.example"
    assert "payload" not in up


def test_alertmanager_gets_the_same_labels_when_an_alert_begins_and_when_it_ends() -> None:
    address = AlertmanagerAddress("http://alertmanager:9093/")
    changed = after_transition(DOWN.incident, transition("down", "late", 60))
    up = after_transition(changed.incident, transition("late", "up", 240, labels={"team": "other"}))
    posts = [post_of(address, message(*step.alerts), START) for step in (DOWN, changed, up)]
    assert {post.url for post in posts} == {"http://alertmanager:9093/api/v2/alerts"}
    begun, _, ended = ([alert] for post in posts for [alert] in [json.loads(post.body)])
    assert len({json.dumps(json.loads(post.body)[0]["labels"], sort_keys=True) for post in posts}) == 1
    assert begun[0]["startsAt"] == ended[0]["startsAt"]
    assert ended[0]["endsAt"] == "2027-01-15T08:04:00.000Z"
    assert begun[0]["labels"]["team"] == "shop"


def test_alertmanager_gets_all_alerts_of_a_message_in_their_order() -> None:
    up = after_transition(DOWN.incident, transition("down", "up", 60))
    again = after_transition(up.incident, transition("up", "down", 120))
    # a message lists the most urgent first
    post = post_of(AlertmanagerAddress("http://alertmanager:9093/"), message(*up.alerts, *again.alerts), START)
    assert [each["annotations"]["state"] for each in json.loads(post.body)] == ["up", "down"]


# --- mail -------------------------------------------------------------------------------------------------------------


class Mailbox:
    """A mail server's handler: keeps mails, and answers with ``says``."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.sessions: set[int] = set()
        self.rcpt_says = "250 OK"
        self.data_says = "250 OK"
        self.order: list[Session] = []
        self.hold: asyncio.Event | None = None
        self.holds = asyncio.Event()

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:
        if self.rcpt_says.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt_says

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:
        if self.hold is not None:
            self.holds.set()
            await self.hold.wait()
        self.order.append(session)
        if self.data_says.startswith("250"):
            self.mails.append(envelope)
            self.sessions.add(id(session))
        return self.data_says


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def relay(mailbox: Mailbox) -> AsyncIterator[Relay]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="mail.example", loop=loop), "127.0.0.1", 0)
    yield Relay("127.0.0.1", server.sockets[0].getsockname()[1], "none", "Everwatch <alerts@example.com>")
    server.close()


ADA = EmailAddress("ada@example.com")


async def test_mails_share_a_connection_and_have_an_id_that_stays(relay: Relay, mailbox: Mailbox) -> None:
    sender = MailSender(SystemClock(), "")
    for _ in range(3):
        assert (await sender.send(relay, ADA, message())).verdict is Verdict.SENT
    await sender.close()
    assert len(mailbox.mails) == 3
    assert len(mailbox.sessions) == 1
    assert len({_header(mail, "Message-ID") for mail in mailbox.mails}) == 1
    [first, *_] = mailbox.mails
    assert (first.mail_from, first.rcpt_tos) == ("alerts@example.com", ["ada@example.com"])
    assert _header(first, "Subject") == "DOWN: shop"
    assert _header(first, "Auto-Submitted") == "auto-generated"


async def test_a_link_that_ends_a_subscription_arrives_as_mail_programs_read_it(relay: Relay, mailbox: Mailbox) -> None:
    link = f"https://status.example.com/subscription/{'k' * 120}.{'s' * 43}"
    news = Message("m", "status:shops", "", START, (), to=ADA.to, title="Shöp " * 40, lines=("It is down.",), link=link)
    sender = MailSender(SystemClock(), "")
    assert (await sender.send(relay, ADA, news)).verdict is Verdict.SENT
    await sender.close()
    content = mailbox.mails[0].content
    assert isinstance(content, bytes)
    lines = content.split(b"\r\n")
    assert f"List-Unsubscribe: <{link}/end>".encode() in lines
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    words = [word for line in lines for word in line.split() if word.startswith(b"=?")]
    assert words, "the subject"
    assert all(len(word) < 80 for word in words)


async def test_a_connection_that_was_kept_too_long_is_not_used(relay: Relay, mailbox: Mailbox) -> None:
    clock = SettableClock(START)
    sender = MailSender(clock, "")
    await sender.send(relay, ADA, message())
    clock.advance(60_000)
    await sender.send(relay, ADA, message())
    await sender.close()
    assert len(mailbox.sessions) == 2


@pytest.mark.parametrize(
    ("rcpt", "data", "verdict", "is_servers", "says"),
    [
        ("550 no such user", "250 OK", Verdict.GONE, False, "refuses the recipient: 550 no such user"),
        ("451 try later", "250 OK", Verdict.FAILED, False, "refuses the recipient: 451 try later"),
        ("250 OK", "554 looks like spam", Verdict.REFUSED, False, "refuses the mail: 554 looks like spam"),
        ("250 OK", "452 disk full", Verdict.FAILED, True, "answers 452 disk full"),
    ],
)
async def test_what_a_mail_servers_refusal_means(
    relay: Relay, mailbox: Mailbox, rcpt: str, data: str, verdict: Verdict, is_servers: bool, says: str
) -> None:
    mailbox.rcpt_says, mailbox.data_says = rcpt, data
    sender = MailSender(SystemClock(), "")
    outcome = await sender.send(relay, ADA, message())
    assert (outcome.verdict, outcome.is_servers) == (verdict, is_servers)
    assert says in outcome.reason
    # and the next mail goes through
    mailbox.rcpt_says = mailbox.data_says = "250 OK"
    assert (await sender.send(relay, ADA, message())).verdict is Verdict.SENT
    await sender.close()


async def test_an_address_that_no_mail_can_be_sent_to_is_not_the_mail_servers_fault(relay: Relay) -> None:
    sender = MailSender(SystemClock(), "")
    # this server knows no SMTPUTF8
    outcome = await sender.send(relay, EmailAddress("adä@example.com"), message())
    assert (outcome.verdict, outcome.is_servers) == (Verdict.FAILED, False)
    assert "no mail can be sent to this address" in outcome.reason
    assert (await sender.send(relay, ADA, message())).verdict is Verdict.SENT
    await sender.close()


async def test_a_connection_to_the_mail_server_that_the_rules_named_before_is_not_used(
    relay: Relay, mailbox: Mailbox
) -> None:
    sender = MailSender(SystemClock(), "")
    other = dataclasses.replace(relay, username="", sender="other@example.com")
    mailbox.hold = asyncio.Event()
    under_way = asyncio.create_task(sender.send(relay, ADA, message()))
    await mailbox.holds.wait()
    hold, mailbox.hold = mailbox.hold, None
    await sender.send(other, ADA, message())
    hold.set()
    await under_way
    await sender.send(other, ADA, message())
    await sender.close()
    second, first, third = mailbox.order
    assert first is not second
    assert third is second


def test_what_a_receiver_says_is_one_line_that_terminals_and_databases_take() -> None:
    said = said_of("caf\udce9\r\n\x1b[2J" + "x" * 10_000)
    assert said.startswith("caf\\udce9 \\u001b[2Jxxx")
    said.encode()
    assert len(said) < 300


async def test_a_mail_server_that_is_away_or_speaks_no_tls_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sender = MailSender(SystemClock(), "")
    outcome = await sender.send(Relay("127.0.0.1", port, "none", "a@example.com"), ADA, message())
    assert outcome.verdict is Verdict.FAILED
    assert outcome.is_servers
    assert str(port) in outcome.reason


async def test_no_mail_goes_out_in_the_clear_where_starttls_is_asked_for(relay: Relay, mailbox: Mailbox) -> None:
    sender = MailSender(SystemClock(), "")
    secured = Relay(relay.host, relay.port, "starttls", relay.sender)
    outcome = await sender.send(secured, ADA, message())
    assert outcome.verdict is Verdict.FAILED
    assert mailbox.mails == []


def _header(envelope: Envelope, name: str) -> str:
    import email
    from email import policy

    assert isinstance(envelope.content, bytes)
    return str(email.message_from_bytes(envelope.content, policy=policy.default)[name])
