"""The kind webhook against real receivers on the loopback address."""

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web
from rich.pretty import pretty_repr
from standardwebhooks import Webhook, WebhookVerificationError

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.encoding.templates import tick_id
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.webhook import signature_headers
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
# 24 and 32 bytes; the first is the example of the specification's libraries
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
AT = 1_763_715_600_000


@dataclass
class Received:
    method: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps what it is sent, and answers with ``status``."""

    status: int = 204
    answer_headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    received: list[Received] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(Received(request.method, dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers=self.answer_headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def context() -> AsyncIterator[RunContext]:
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


def due(payload: str = "", attempt: int = 1, at: int = AT) -> Tick:
    return Tick("u-1", "remind", at, "webhook", "{}", 10_000, 1, 0, attempt=attempt, payload=payload)


async def send(context: RunContext, tick: Tick | None = None, **config: object) -> Outcome:
    kind = registry.kind_named("webhook")
    assert not kind.inline
    canonical = registry.canonical_config(kind, registry.parse_config(kind, config))
    return await kind.run(registry.parse_config(kind, canonical), tick or due(), context)


async def test_the_receiver_gets_the_filled_in_template(context: RunContext, receiver: Receiver) -> None:
    outcome = await send(
        context, due('{"coupon": "SAVE\\"10", "left": 3}'), url=receiver.url,
        template={"to": "{{user_id}}", "text": "Use {{payload.coupon}}", "left": "{{payload.left}}"},
        headers={"X-Coupons-Left": "{{payload.left}} left"},
    )  # fmt: skip
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"connect", "first_byte", "total"}
    (request,) = receiver.received
    assert request.method == "POST"
    assert json.loads(request.body) == {"to": "u-1", "text": 'Use SAVE"10', "left": 3}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Coupons-Left"] == "3 left"


async def test_without_a_template_the_receiver_learns_who_when_and_what(
    context: RunContext, receiver: Receiver
) -> None:
    await send(context, due('{"a": [1]}'), url=receiver.url, method="PUT", headers={"content-type": "application/x"})
    (request,) = receiver.received
    assert json.loads(request.body) == {
        "type": "everwatch.tick",
        "timestamp": "2025-11-21T09:00:00.000Z",
        "data": {"user_id": "u-1", "monitor_id": "remind", "payload": {"a": [1]}},
    }
    assert (request.method, request.headers["Content-Type"]) == ("PUT", "application/x")


async def test_a_receiver_verifies_the_signature_with_the_public_library(
    context: RunContext, receiver: Receiver
) -> None:
    await send(context, due('"größe"'), url=receiver.url, template=["{{payload}}"], secret=SECRET)
    (request,) = receiver.received
    assert Webhook(SECRET).verify(request.body, request.headers) == ["größe"]
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW_SECRET).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace(b"g", b"k"), request.headers)


async def test_while_a_secret_is_replaced_both_verify(context: RunContext, receiver: Receiver) -> None:
    await send(context, url=receiver.url, secret=[NEW_SECRET, SECRET])
    (request,) = receiver.received
    for secret in (SECRET, NEW_SECRET):
        assert Webhook(secret).verify(request.body, request.headers)


def test_the_signature_is_the_one_of_the_specification() -> None:
    # the example of the libraries' own tests
    headers = signature_headers([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, '{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_without_a_secret_the_request_has_an_id_and_no_signature(context: RunContext, receiver: Receiver) -> None:
    await send(context, url=receiver.url)
    (request,) = receiver.received
    assert "webhook-signature" not in request.headers
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    assert abs((datetime.now(UTC) - sent_at).total_seconds()) < 60


async def test_each_attempt_at_a_tick_has_the_same_id_and_another_tick_another(
    context: RunContext, receiver: Receiver
) -> None:
    receiver.status = 503
    outcome = await send(context, due(attempt=1), url=receiver.url, secret=SECRET)
    assert (outcome.status, outcome.reason) == (Status.FAILURE, "status 503, expected 200-299")
    receiver.status = 200
    assert (await send(context, due(attempt=2), url=receiver.url, secret=SECRET)).status is Status.SUCCESS
    await send(context, due(at=AT + 1), url=receiver.url, secret=SECRET)
    first, second, third = (request.headers["webhook-id"] for request in receiver.received)
    assert first == second == tick_id(due())
    assert third != first


async def test_a_redirect_is_not_followed(context: RunContext, receiver: Receiver) -> None:
    receiver.status, receiver.answer_headers = 307, {"Location": "/elsewhere"}
    outcome = await send(context, url=receiver.url)
    assert outcome.reason == "status 307, expected 200-299 (redirects are not followed)"
    assert outcome.status is Status.FAILURE
    assert len(receiver.received) == 1


@pytest.mark.parametrize("head", ["Content-Encoding: gzip\r\nContent-Length: 5", "Content-Length: 50"])
async def test_what_is_wrong_with_a_body_that_nobody_reads_is_no_failure(context: RunContext, head: str) -> None:
    """The receiver has acted: a retry would make it act again."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\nplain".encode())
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        outcome = await send(context, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")


async def test_an_address_that_the_guard_forbids_is_not_reached(receiver: Receiver) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await send(context, url=receiver.url)
    assert outcome.status is Status.FAILURE
    assert "is a loopback address" in outcome.reason
    assert receiver.received == []


async def test_a_receiver_that_is_not_there_is_a_failure_that_names_it(context: RunContext) -> None:
    outcome = await send(context, url="http://127.0.0.1:1/hook")
    assert outcome.reason == "connection refused by 127.0.0.1:1"


async def test_a_value_that_is_missing_is_told_and_nothing_is_sent(context: RunContext, receiver: Receiver) -> None:
    outcome = await send(
        context, due('{"cupon": 1}'), url=receiver.url, template={"data": {"code": "{{payload.coupon}}"}}
    )
    assert outcome.status is Status.FAILURE
    assert outcome.reason == (
        "{{payload.coupon}} has no value: payload has no 'coupon' (at $.config.template.data.code)"
    )
    assert receiver.received == []


@pytest.mark.parametrize(
    ("payload", "part"),
    [(json.dumps("1\r\nX-Admin: yes"), "line break"), (json.dumps("x" * 8_193), "longer than 8192 characters")],
)
async def test_a_value_cannot_smuggle_or_flood_headers(
    context: RunContext, receiver: Receiver, payload: str, part: str
) -> None:
    outcome = await send(context, due(payload), url=receiver.url, headers={"X-Text": "{{payload}}"})
    assert outcome.status is Status.FAILURE
    assert part in outcome.reason
    assert receiver.received == []


async def test_a_server_without_tls_is_a_failure_of_the_handshake(context: RunContext, receiver: Receiver) -> None:
    outcome = await send(context, url=receiver.url.replace("http://", "https://"))
    assert outcome.reason.startswith("TLS handshake with 127.0.0.1:"), ssl.OPENSSL_VERSION


# --- configs --------------------------------------------------------------------------------------------------------


def base64_secret(size: int) -> str:
    return "whsec_" + "A" * (size // 3 * 4)


@pytest.mark.parametrize(
    ("config", "path", "reason"),
    [
        ({}, "$.config", "needs the field 'url'"),
        ({"url": "ftp://a.example/"}, "$.config.url", "starts with http"),
        ({"method": "GET"}, "$.config.method", "GET"),
        ({"template": {"a": ["{{user_id"]}}, "$.config.template.a[0]", "is not followed by"),
        ({"template": "{{plan}}"}, "$.config.template", "{{plan}} is not known"),
        ({"headers": {"X-A": "{{user}}"}}, "$.config.headers.X-A", "{{user}} is not known"),
        ({"headers": {"Webhook-Id": "1"}}, "$.config.headers", "set by the kind"),
        ({"headers": {"Content-Length": "1"}}, "$.config.headers", "the client's own"),
        ({"secret": "hunter2hunter2hunter2hunter2"}, "$.config.secret", "begins with whsec_"),
        ({"secret": "whsec_hunter2!hunter2hunter2hunter2"}, "$.config.secret", "is not base64"),
        ({"secret": "whsec_"}, "$.config.secret", "24 to 64 bytes in base64, not 0"),
        ({"secret": base64_secret(21)}, "$.config.secret", "not 21"),
        ({"secret": base64_secret(66)}, "$.config.secret", "not 66"),
        ({"secret": [SECRET, ""]}, "$.config.secret[1]", "begins with whsec_"),
        ({"secret": []}, "$.config.secret", "length >= 1"),
        ({"sekret": SECRET}, "$.config.sekret", "no field 'sekret'; known fields: url, template, secret"),
    ],
)
def test_a_wrong_config_is_refused_with_reason_and_path(config: dict[str, object], path: str, reason: str) -> None:
    given = config if not config else {"url": "http://a.example/"} | config
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("webhook"), given)
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert "hunter2" not in str(caught.value)


def test_the_canonical_text_leaves_out_defaults_and_means_the_same() -> None:
    kind = registry.kind_named("webhook")
    short = registry.parse_config(kind, {"url": "http://a.example/", "method": "POST", "headers": {}, "secret": ""})
    assert registry.canonical_config(kind, short) == '{"url":"http://a.example/"}'
    config = {"url": "http://a.example/", "template": {"b": [1, None, 2.5], "a": "{{user_id}}"}, "secret": [SECRET]}
    parsed = registry.parse_config(kind, config)
    text = registry.canonical_config(kind, parsed)
    assert text.index('"a"') < text.index('"b"')
    assert registry.parse_config(kind, text) == parsed
    for nothing in (None, {}, []):  # documents like any other
        assert registry.canonical_config(
            kind, registry.parse_config(kind, {"url": "http://a.example/", "template": nothing})
        ) == f'{{"template":{json.dumps(nothing)},"url":"http://a.example/"}}'  # fmt: skip


def test_no_representation_shows_the_secret() -> None:
    kind = registry.kind_named("webhook")
    config = {"url": "http://a.example/", "secret": SECRET, "headers": {"Authorization": "Bearer hunter2"}}
    parsed = registry.parse_config(kind, config)
    shown = repr(parsed) + pretty_repr(parsed)
    assert "a.example" in shown
    assert SECRET[6:] not in shown
    assert "hunter2" not in shown
