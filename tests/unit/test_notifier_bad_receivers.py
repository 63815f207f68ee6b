"""Receivers that fail in each of their ways: the rule, the line in ``notify deliveries``, and the other route."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from support.authority import Authority
from support.notifying import SECOND, Notifying, transition
from support.raw_http import RawServer, answer, open_raw_server
from support.tls_server import TlsServer
from typer.testing import CliRunner

from everwatch.cli.commands import notify
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver
from everwatch.notifier.senders.over_http import HttpSender

RULES = """
[defaults]
group_wait = "0s"
group_interval = "0s"

[[operators]]
name = "bad"
continue = true
webhook = {{ url = "{bad}" }}

[[operators]]
name = "good"
webhook = {{ url = "{good}" }}
"""
USERS = '\n[[users]]\nname = "own"\nwebhook = {{ url = "{{{{user.attributes.hook}}}}" }}\n'
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 2")
    await writer.drain()


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with open_raw_server() as raw:
        raw.answers["/good"] = answer(b"", status="204 No Content")
        yield raw


@pytest.fixture
def expired(authority: Authority) -> Iterator[TlsServer]:
    made = TlsServer(authority.certificate("IP:127.0.0.1", days=-3.5))
    yield made
    made.close()


@pytest.fixture
async def http(authority: Authority) -> AsyncIterator[HttpSender]:
    clock = SystemClock()
    resolver = Resolver(clock)
    guarded = HttpClient(clock, Guard(), resolver, Egress())
    free = HttpClient(clock, Guard((ip_network("127.0.0.0/8"),)), resolver, Egress(str(authority.path)))
    yield HttpSender(clock, guarded, free)
    for each in (guarded, free, resolver):
        await each.close()


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The line of a route's newest message in ``everwatch notify deliveries``, from its state on."""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))

    def of(route: str) -> str:
        found = CliRunner().invoke(notify.app, ["deliveries", "--route", route], env={"COLUMNS": "200"})
        assert found.exit_code == 0, found.output
        head, _, rest = found.output.splitlines()[-1].partition(f"{route}/webhook ")
        assert head
        return rest.partition("  ")[2].rstrip()

    return of


async def deliver(tmp_path: Path, http: HttpSender, bad: str, server: RawServer) -> Notifying:
    rules = RULES.format(bad=bad, good=server.url("/good"))
    notifying = Notifying(Settings(data_dir=tmp_path), rules, http=http)
    notifying.sign_up()
    notifying.tell(transition("up", "down"))
    await notifying.work()
    return notifying


@pytest.mark.parametrize(
    ("given", "line", "again_after_s"),
    [
        (hang, "pending (attempt 1, next {next})  no answer within 0.5 s", 5),
        (half, "pending (attempt 1, next {next})  ", 5),
        (
            answer(b"busy", "Retry-After: 120", status="429 Too Many Requests"),
            "pending (attempt 1, next {next})  status 429: busy",
            120,
        ),
        (answer(b"", status="410 Gone"), "dead (attempt 1)  status 410", 0),
        (
            answer(b"", "Location: http://127.0.0.1:9/", status="302 Found"),
            "pending (attempt 1, next {next})  status 302 (redirects are not followed)",
            5,
        ),
    ],
    ids=["hangs", "half a response", "429", "410", "redirects to loopback"],
)
async def test_a_receiver_that_fails_has_its_rule_and_its_line_and_the_other_route_its_message(
    tmp_path: Path,
    http: HttpSender,
    server: RawServer,
    listed: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    given: Answer,
    line: str,
    again_after_s: int,
) -> None:
    http.timeout_s = 0.5 if given is hang else 60
    server.answers["/bad"] = given
    notifying = await deliver(tmp_path, http, server.url("/bad"), server)
    [bad] = [each for each in notifying.deliveries() if each.route == "bad"]
    if again_after_s:
        assert bad.due_at == notifying.clock.now_ms() + again_after_s * SECOND
    assert listed("bad").startswith(line.partition("{next}")[0])
    assert line.partition("{next})")[2] in listed("bad")
    assert listed("good") == "sent (attempt 1)  status 204"
    # none is asked twice, and where the redirect leads is not asked; of an address that is gone operators get a notice
    assert len(server.requests) == (3 if b"410" in repr(given).encode() else 2)
    notifying.close()


async def test_one_that_refuses_connections_and_one_whose_certificate_has_expired_hold_back_no_other_route(
    tmp_path: Path,
    http: HttpSender,
    server: RawServer,
    expired: TlsServer,
    listed: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refuses = tmp_path / "refuses"
    notifying = await deliver(refuses, http, f"http://127.0.0.1:{port}/", server)
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(refuses))
    [bad] = [each for each in notifying.deliveries() if each.route == "bad"]
    assert bad.due_at == notifying.clock.now_ms() + 5 * SECOND
    assert listed("bad").startswith("pending (attempt 1, next ")
    assert listed("bad").endswith(f"connection refused by 127.0.0.1:{port}")
    assert listed("good") == "sent (attempt 1)  status 204"
    notifying.close()
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    notifying = await deliver(tmp_path, http, f"https://127.0.0.1:{expired.port}/", server)
    assert listed("bad").startswith("pending (attempt 1, next ")
    assert "expired" in listed("bad")
    assert listed("good") == "sent (attempt 1)  status 204"
    assert expired.heard == []
    notifying.close()


async def test_an_address_of_a_user_on_loopback_is_not_asked(
    tmp_path: Path, http: HttpSender, server: RawServer, listed: Callable[[str], str]
) -> None:
    rules = (RULES + USERS).format(bad=server.url("/good"), good=server.url("/good"))
    notifying = Notifying(Settings(data_dir=tmp_path), rules, http=http)
    notifying.sign_up("u-1", hook=server.url("/secret"))
    notifying.tell(transition("up", "down"))
    await notifying.work()
    assert "is a loopback address, which checks may not reach" in listed("own")
    assert listed("good") == "sent (attempt 1)  status 204"
    notifying.close()
