"""The kind ``http``: one request, judged by its status, its body, its time and the server's certificate."""

import asyncio
import math
import ssl
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import aiohttp
import yarl

from everwatch.kinds.assertions import PATTERN_TEXT_BYTES, explain_json, holds_text, matches
from everwatch.kinds.capture import captured, status_and_head
from everwatch.kinds.http_client import HttpClient, Probe
from everwatch.kinds.http_config import HttpConfig
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.reasons import explain_certificate_error, explain_connection_error, quoted
from everwatch.kinds.tls import read_certificate
from everwatch.model import Outcome, Status, Tick
from everwatch.schedule.duration import DAY_MS

MOST_REDIRECTS = 10
BODY_LIMIT_BYTES = 1024 * 1024


class HttpKind:
    """Asks a URL. Timings: dns, connect, tls, first_byte, total, in ms (the first three summed over redirects)."""

    name = "http"
    config_type = HttpConfig
    default_schedule_ms = 60_000

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: HttpConfig) -> str:
        """The URL's host; those that it redirects to are not counted."""
        return host_of(config.url)

    async def run(self, config: HttpConfig, tick: Tick, context: RunContext) -> Outcome:
        """Send the request, follow redirects if asked to, and judge the answer."""
        client = context.http
        probe = client.new_probe()
        owner = (tick.user_id, tick.monitor_id)
        detail = ""
        try:
            async with client.kept_session(owner) if config.keep_alive else nullcontext(client.session) as session:
                answer = await _ask(session, config, client, probe)
                if config.keep_alive and answer.redirected:
                    # one connection is kept for a monitor, not one for each hop
                    await session.close()
            timings = probe.timings()
            reason = (
                await _judge_body(config, answer)
                or _judge_latency(config, timings["total"])
                or _judge_certificate(config, probe, context.clock.now_ms())
            )
            if reason and config.capture:
                detail = captured(answer.head, answer.body, answer.charset, config.hide_cut)
        except (aiohttp.ClientError, OSError) as error:
            timings = probe.timings()
            reason = explain_failure(error, config, probe)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings, detail)


@dataclass(frozen=True)
class _Answer:
    """What came; ``body`` is at most ``BODY_LIMIT_BYTES`` of it. ``head`` is "" unless it may be captured."""

    status: int
    body: bytes
    charset: str | None
    redirected: bool
    head: str


async def _ask(session: aiohttp.ClientSession, config: HttpConfig, client: HttpClient, probe: Probe) -> _Answer:
    async with session.request(
        config.method,
        config.url,
        headers=config.headers_to_send(),
        data=config.body.encode() if config.body else None,
        allow_redirects=config.follow_redirects,
        max_redirects=MOST_REDIRECTS + 1,
        ssl=client.tls(verify=config.verify_tls),
        trace_request_ctx=probe,
    ) as response:
        probe.answer_begins()
        body = await _read_at_most(response, BODY_LIMIT_BYTES)
        return _Answer(response.status, body, response.charset, bool(response.history), _head(config, response))


def _head(config: HttpConfig, response: aiohttp.ClientResponse) -> str:
    if not config.capture:
        return ""
    version = f"HTTP/{response.version.major}.{response.version.minor}" if response.version else "HTTP"
    return status_and_head(version, response.status, response.reason or "", response.raw_headers)


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])


async def _judge_body(config: HttpConfig, answer: _Answer) -> str:
    if not config.status_is_expected(answer.status):
        return f"status {answer.status}, expected {config.expected_status}"
    body, charset = answer.body, answer.charset
    if config.body_contains and not holds_text(config.body_contains, body, charset):
        return f"{_part(body, BODY_LIMIT_BYTES)} does not contain {quoted(config.body_contains, 80)}"
    if config.body_not_contains and holds_text(config.body_not_contains, body, charset):
        return f"body contains {quoted(config.body_not_contains, 80)}"
    if config.body_matches and not await asyncio.to_thread(matches, config.body_matches, body, charset):
        return f"{_part(body, PATTERN_TEXT_BYTES)} does not match {quoted(config.body_matches, 80)}"
    if config.json_equals:
        if len(body) >= BODY_LIMIT_BYTES:
            return f"the body has {BODY_LIMIT_BYTES // 1024} KiB or more, too much to be read as JSON"
        return explain_json(config.json_equals, body, config.hide)
    return ""


def _part(body: bytes, limit: int) -> str:
    return "body" if len(body) < limit else f"first {limit // 1024} KiB of the body"


def _judge_latency(config: HttpConfig, total_ms: float) -> str:
    most_ms = config.max_latency_ms
    if not most_ms or total_ms <= most_ms:
        return ""
    return f"took {math.ceil(total_ms)} ms, expected at most {most_ms} ms"


def _judge_certificate(config: HttpConfig, probe: Probe, now_ms: int) -> str:
    if not config.certificate_days_left:
        return ""
    if probe.tls is None:
        return "no certificate was seen"
    host = probe.tls.server_hostname or yarl.URL(config.url).host
    try:
        certificate = read_certificate(probe.tls.getpeercert(binary_form=True) or b"")
    except ValueError as error:
        return f"the certificate of {host} cannot be read: {error}"
    left_ms = certificate.expires_at - now_ms
    if left_ms >= config.certificate_days_left * DAY_MS:
        return ""
    ends = "has expired" if left_ms < 0 else "expires soon"
    expected = f"expected at least {config.certificate_days_left}"
    return f"certificate of {host} {ends}: {certificate.describe(now_ms)}, {expected}"


def explain_failure(error: aiohttp.ClientError | OSError, config: HttpConfig, probe: Probe) -> str:
    host, port = _host_and_port(config.url)
    if probe.refusal and isinstance(error, OSError):
        return probe.refusal
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        if isinstance(inner, ssl.CertificateError):
            return explain_certificate_error(inner, error.host)
    if isinstance(error, aiohttp.ClientConnectorError):
        return explain_connection_error(error.os_error, error.host, error.port)
    match error:
        case aiohttp.TooManyRedirects():
            return f"more than {MOST_REDIRECTS} redirects"
        case aiohttp.NonHttpUrlRedirectClientError():
            return f"redirected to {_told(error, config)}, which is not an http or https URL"
        case aiohttp.InvalidUrlRedirectClientError():
            return f"redirected to a URL that is not valid: {_told(error, config)}"
        case aiohttp.InvalidURL():
            return f"not a valid URL: {_told(error, config)}"
        case aiohttp.ServerDisconnectedError():
            return "connection closed before an answer came"
        case aiohttp.ClientPayloadError():
            return "the answer broke off before its end"
        case aiohttp.ClientResponseError():
            return f"the answer is not valid HTTP: {_told(error.message, config)}"
        case OSError():
            return explain_connection_error(error, host, port)
    return f"the request failed: {_told(error, config) or type(error).__name__}"


def _told(said: object, config: HttpConfig, limit: int = 200) -> str:
    # what the server says is hidden before it is cut, which would leave the beginning of a secret
    line = " ".join(config.hide(str(said)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def host_of(url: str) -> str:
    """The host of a URL that ``check_url`` allows."""
    return yarl.URL(url).host or ""


def _host_and_port(url: str) -> tuple[str, int | None]:
    parsed = yarl.URL(url)
    return parsed.host or "", parsed.port
