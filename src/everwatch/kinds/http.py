"""The kind ``http``: one request, judged by its status, its body, its time and the server's certificate."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from everwatch.kinds.protocol import RunContext
from everwatch.kinds.shared.body_assertions import PATTERN_TEXT_BYTES, encoded, explain_json, matches
from everwatch.kinds.shared.http_config import HttpConfig
from everwatch.kinds.shared.response_capture import BODY_BYTES as CAPTURED_BYTES
from everwatch.kinds.shared.response_capture import captured, status_and_head
from everwatch.model import Outcome, Status, Tick
from everwatch.network.certificate import TIME_LEFT, read_certificate
from everwatch.network.error_texts import quoted
from everwatch.network.host_names import parse_url
from everwatch.network.http_request import Probe, Request, RequestFailed
from everwatch.network.http_response import HttpResponse
from everwatch.network.tls_probe import ProbedServer, details_of, refusal_of
from everwatch.schedule.duration import DAY_MS, describe_duration

MOST_REDIRECTS = 10
BODY_LIMIT_BYTES = 1024 * 1024
# what is kept of the tick's time to say what came
_LAST_WORD_S = 0.1


class HttpKind:
    """Asks a URL. Timings: dns, connect, tls, first_byte, total, in ms (the first three summed over redirects).

    With ``certificate_days_left`` also how long the certificate is valid still.
    """

    name = "http"
    config_type = HttpConfig
    default_schedule_ms = 60_000
    # searches a body for a pattern, in a thread
    matches = staticmethod(matches)

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
        request = request_of(config, tick)
        detail = ""
        try:
            owner = (tick.user_id, tick.monitor_id) if config.keep_alive else None
            answer = await client.send(request, probe, owner)
            timings = probe.timings()
            reason = (
                await self._judge_body(config, answer, describe_duration(tick.timeout_ms))
                or _judge_latency(config, timings["total"])
                or _judge_certificate(config, answer, context.clock.now_ms(), timings)
                or _judge_version(config, answer)
            )
            if reason and config.capture:
                head = status_and_head(answer.version, answer.status, answer.phrase, answer.headers)
                detail = captured(head, bytes(answer.body), answer.charset, config.hide_cut)
        except RequestFailed as error:
            timings = probe.timings()
            reason = await explain_failure(error, request, probe, tick, context, config.hide)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings, detail)

    async def _judge_body(self, config: HttpConfig, answer: HttpResponse, time: str) -> str:
        if not config.status_is_expected(answer.status):
            return f"status {answer.status}, expected {config.expected_status}"
        body, charset = bytes(answer.body), answer.charset
        judges_body = config.body_contains or config.body_not_contains or config.body_matches or config.json_equals
        if judges_body and answer.wrong_coding:
            return answer.wrong_coding
        came = f"{answer.status} came after {max(1, round(answer.head_ms))} ms"
        unfinished = "" if answer.is_whole else f"{came}; its body had not ended after {time}"
        if config.body_contains and encoded(config.body_contains, charset) not in body:
            wanted = quoted(config.body_contains, 80)
            if unfinished:
                return f"{unfinished} and had not contained {wanted}"
            return f"{_part(body, BODY_LIMIT_BYTES)} does not contain {wanted}"
        if config.body_not_contains:
            if encoded(config.body_not_contains, charset) in body:
                return f"body contains {quoted(config.body_not_contains, 80)}"
            if unfinished:
                return unfinished
        if config.body_matches and not await asyncio.to_thread(self.matches, config.body_matches, body, charset):
            wanted = quoted(config.body_matches, 80)
            if unfinished and len(body) < PATTERN_TEXT_BYTES:
                return f"{unfinished} and had not matched {wanted}"
            return f"{_part(body, PATTERN_TEXT_BYTES)} does not match {wanted}"
        if config.json_equals:
            if len(body) >= BODY_LIMIT_BYTES:
                return f"the body has {BODY_LIMIT_BYTES // 1024} KiB or more, too much to be read as JSON"
            return unfinished or explain_json(config.json_equals, body, charset, config.hide)
        return unfinished if config.max_latency_ms else ""


def request_of(config: HttpConfig, tick: Tick) -> Request:
    timeout_s = tick.timeout_ms / 1000
    return Request(
        config.method,
        config.url,
        config.headers_to_send(),
        config.body.encode(),
        tls=config.tls_options,
        http_version=config.http_version,
        follow=MOST_REDIRECTS if config.follow_redirects else 0,
        body_limit=BODY_LIMIT_BYTES,
        wants_certificate=config.certificate_days_left > 0,
        is_enough=_Settled(config),
        within_s=timeout_s - min(_LAST_WORD_S, timeout_s / 10),
        secret_headers=config.secret_headers.keys(),
    )


class _Settled:
    """Judge of a partial answer: is every expectation of ``config`` decided already? Some answers never end."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._found = _Search(config.body_contains)
        self._unwanted = _Search(config.body_not_contains)
        # these need the end, or the time that it takes
        self._needs_end = bool(
            config.body_not_contains or config.body_matches or config.json_equals or config.max_latency_ms
        )

    def __call__(self, answer: HttpResponse) -> bool:
        config = self._config
        if not config.status_is_expected(answer.status):
            return not config.capture or len(answer.body) > CAPTURED_BYTES
        if config.body_contains and not self._found.is_in(answer):
            return False
        if config.body_not_contains and self._unwanted.is_in(answer):
            return not config.capture or len(answer.body) > CAPTURED_BYTES
        return not self._needs_end


class _Search:
    """A text looked for in a body that grows."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._searched = 0
        self._is_found = False

    def is_in(self, answer: HttpResponse) -> bool:
        if not self._is_found:
            needle = encoded(self._text, answer.charset)
            self._is_found = answer.body.find(needle, max(0, self._searched - len(needle) + 1)) >= 0
            self._searched = len(answer.body)
        return self._is_found


def _part(body: bytes, limit: int) -> str:
    return "body" if len(body) < limit else f"first {limit // 1024} KiB of the body"


def _judge_latency(config: HttpConfig, total_ms: float) -> str:
    most_ms = config.max_latency_ms
    if not most_ms or total_ms <= most_ms:
        return ""
    return f"took {math.ceil(total_ms)} ms, expected at most {most_ms} ms"


def _judge_certificate(config: HttpConfig, answer: HttpResponse, now_ms: int, timings: dict[str, float]) -> str:
    """Return the fault of the server's certificate, "" for none; add to ``timings`` how long it is valid still."""
    if not config.certificate_days_left:
        return ""
    if not answer.certificate:
        return "no certificate was seen"
    host = answer.url.host
    try:
        certificate = read_certificate(answer.certificate)
    except ValueError as error:
        return f"the certificate of {host} cannot be read: {error}"
    left_ms = certificate.expires_at - now_ms
    timings[TIME_LEFT] = left_ms
    if left_ms >= config.certificate_days_left * DAY_MS:
        return ""
    ends = "has expired" if left_ms < 0 else "expires soon"
    expected = f"expected at least {config.certificate_days_left}"
    return f"certificate of {host} {ends}: {certificate.describe(now_ms)}, {expected}"


def _judge_version(config: HttpConfig, answer: HttpResponse) -> str:
    if config.http_version != "2" or answer.version.startswith("HTTP/2"):
        return ""
    return f"the server speaks {answer.version}, expected HTTP/2"


async def explain_failure(
    error: RequestFailed, request: Request, probe: Probe, tick: Tick, context: RunContext, hide: Callable[[str], str]
) -> str:
    """Return the reason for a missing answer; ``hide`` removes secrets that were sent to the server.

    Details that only TLS shows are fetched from the server once more, but never past a proxy.
    """
    reason = error.sentence(lambda said: _one_line(said, hide))
    url = error.untrusted or error.hung_up
    if url is None or context.outgoing.proxy is not None:
        return reason
    left_s = tick.timeout_ms / 1000 - (context.clock.monotonic_s() - probe.began_s)
    host, port = url.raw_host or "", url.port or 443
    if error.untrusted is not None:
        return reason + await details_of(reason, ProbedServer(host, port, host), context, left_s)
    # a server that was redirected to got no certificate, and is asked without one
    options = request.tls if url.origin() == parse_url(request.url).origin() else replace(request.tls, client=None)
    return await refusal_of(host, port, options, context, left_s) or reason


def _one_line(said: str, hide: Callable[[str], str], limit: int = 200) -> str:
    # what the server says is hidden before it is cut, which would leave the beginning of a secret
    line = " ".join(hide(said).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def host_of(url: str) -> str:
    """The host of a URL that ``check_url`` allows."""
    return parse_url(url).host or ""
