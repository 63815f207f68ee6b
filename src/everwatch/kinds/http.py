"""The kind ``http``: one request, judged by its status and its body."""

import re
import ssl
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Annotated, Literal

import aiohttp
import msgspec
import yarl

from everwatch.kinds.http_client import Probe
from everwatch.kinds.protocol import FieldError, RunContext
from everwatch.kinds.reasons import explain_certificate_error, explain_connection_error
from everwatch.model import Outcome, Status, Tick

MOST_REDIRECTS = 10
BODY_LIMIT_BYTES = 1024 * 1024
_MOST_HEADERS = 64
_DEFAULT_STATUS = "200-299"

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_URL = re.compile(r"[\s\x00-\x1f\x7f]")
# they describe the connection and the framing, which are the client's to decide
_OWN_HEADERS = {"connection", "content-length", "transfer-encoding", "upgrade", "expect", "te"}
_STATUS_RANGE = re.compile(r"\s*([1-5]\d\d)\s*(?:-\s*([1-5]\d\d)\s*)?", re.ASCII)

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
HeaderValue = Annotated[str, msgspec.Meta(max_length=8192)]
Body = Annotated[str, msgspec.Meta(max_length=65_536)]
Needle = Annotated[str, msgspec.Meta(max_length=4096)]


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``expected_status`` may be given as 204, "200-299,404" or a list of both; it is kept as text in normal form."""

    url: Url
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] = "GET"
    headers: dict[str, HeaderValue] = {}
    body: Body = ""
    expected_status: int | str | list[int | str] = _DEFAULT_STATUS
    body_contains: Needle = ""
    follow_redirects: bool = True
    verify_tls: bool = True

    def __post_init__(self) -> None:
        _check_url(self.url)
        _check_headers(self.headers)
        msgspec.structs.force_setattr(self, "expected_status", _normal_status(self.expected_status))
        if self.body_contains and self.method == "HEAD":
            raise FieldError("body_contains", "an answer to HEAD has no body; use GET to look into it")


class HttpKind:
    """Asks a URL. Timings: dns, connect, tls, first_byte, total, in ms (the first three summed over redirects)."""

    name = "http"
    config_type = HttpConfig
    default_schedule_ms = 60_000

    @property
    def inline(self) -> Literal[False]:
        return False

    async def run(self, config: HttpConfig, tick: Tick, context: RunContext) -> Outcome:  # noqa: ARG002  (the names are the protocol's)
        """Send the request, follow redirects if asked to, and judge the answer."""
        client = context.http
        probe = client.new_probe()
        try:
            async with client.session.request(
                config.method,
                config.url,
                headers=config.headers,
                data=config.body.encode() if config.body else None,
                allow_redirects=config.follow_redirects,
                max_redirects=MOST_REDIRECTS + 1,
                ssl=client.tls(verify=config.verify_tls),
                trace_request_ctx=probe,
            ) as response:
                probe.answer_begins()
                body = await _read_at_most(response, BODY_LIMIT_BYTES)
                reason = _judge(config, response, body)
        except (aiohttp.ClientError, OSError) as error:
            reason = _explain(error, config, probe)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, probe.timings())


def _judge(config: HttpConfig, response: aiohttp.ClientResponse, body: bytes) -> str:
    ranges = _status_ranges(str(config.expected_status))
    if not any(first <= response.status <= last for first, last in ranges):
        return f"status {response.status}, expected {config.expected_status}"
    if config.body_contains and _encoded(config.body_contains, response.charset) not in body:
        where = "body" if len(body) < BODY_LIMIT_BYTES else f"first {BODY_LIMIT_BYTES // 1024} KiB of the body"
        needle = config.body_contains
        return f"{where} does not contain '{needle if len(needle) <= 80 else needle[:79] + '…'}'"
    return ""


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])


def _encoded(text: str, charset: str | None) -> bytes:
    try:
        return text.encode(charset or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return text.encode()


def _explain(error: aiohttp.ClientError | OSError, config: HttpConfig, probe: Probe) -> str:
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
            return f"redirected to {_shortened(str(error))}, which is not an http or https URL"
        case aiohttp.InvalidUrlRedirectClientError():
            return f"redirected to a URL that is not valid: {_shortened(str(error))}"
        case aiohttp.InvalidURL():
            return f"not a valid URL: {_shortened(str(error))}"
        case aiohttp.ServerDisconnectedError():
            return "connection closed before an answer came"
        case aiohttp.ClientPayloadError():
            return "the answer broke off before its end"
        case aiohttp.ClientResponseError():
            return f"the answer is not valid HTTP: {_shortened(error.message)}"
        case OSError():
            return explain_connection_error(error, host, port)
    return _shortened(f"the request failed: {error or type(error).__name__}")


def _shortened(text: str, limit: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _host_and_port(url: str) -> tuple[str, int | None]:
    parsed = yarl.URL(url)
    return parsed.host or "", parsed.port


def _check_url(url: str) -> None:
    if _NOT_IN_URL.search(url):
        raise FieldError("url", "a URL has no spaces and no control characters; write a space as %20")
    try:
        parsed = yarl.URL(url)
        port = parsed.port
    except ValueError as error:
        raise FieldError("url", f"not a valid URL: {error}") from None
    if parsed.scheme not in ("http", "https"):
        raise FieldError("url", "a URL starts with http:// or https://")
    if not parsed.host:
        raise FieldError("url", "the URL names no host")
    if parsed.user is not None or parsed.password is not None:
        raise FieldError("url", "no user name and password in a URL, where logs would show them: use headers instead")
    # aiohttp connects to no other way of writing an IPv4 address (2130706433, 127.1): say so now, not at each check
    if ":" not in parsed.host and parsed.host.rpartition(".")[2].isdigit() and not _is_ipv4(parsed.host):
        raise FieldError("url", f"the host {parsed.host} is neither a name nor an IP address")
    if port == 0:
        raise FieldError("url", "a port is a number from 1 to 65535")


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def _check_headers(headers: dict[str, str]) -> None:
    if len(headers) > _MOST_HEADERS:
        raise FieldError("headers", f"{len(headers)} headers, and at most {_MOST_HEADERS} are sent")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise FieldError("headers", f"{name!r} is not a header's name")
        if name.lower() in _OWN_HEADERS:
            raise FieldError("headers", f"the header {name} is the client's own to set")
        if _NOT_IN_HEADER_VALUE.search(value):
            raise FieldError("headers", f"the value of the header {name} has a line break or another control character")


def _normal_status(given: int | str | list[int | str]) -> str:
    parts = given if isinstance(given, list) else [given]
    ranges = sorted(_status_range(part) for item in parts for part in str(item).split(","))
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    if not merged:
        raise FieldError("expected_status", "the list is empty: name at least one status")
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in merged)


def _status_range(text: str) -> tuple[int, int]:
    match = _STATUS_RANGE.fullmatch(text)
    if match is None:
        raise FieldError("expected_status", f"{text!r} is not a status such as 204 or a range such as 200-299")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise FieldError("expected_status", f"the range {text!r} is empty: its end comes before its start")
    return first, last


@lru_cache(maxsize=1024)
def _status_ranges(normal: str) -> tuple[tuple[int, int], ...]:
    return tuple(_status_range(part) for part in normal.split(","))
