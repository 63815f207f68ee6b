"""The kind ``tcp``: does a port accept connections, and does it say what it should?"""

import asyncio
import re
import socket
import ssl
from asyncio import StreamReader
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from everwatch.kinds.protocol import FieldError, RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.connections import (
    Host,
    Port,
    ServerName,
    check_host,
    check_server_name,
    connect,
    longest_refusal_s,
    milliseconds,
    open_streams,
    tls_context,
    wait_for_refusal,
)
from everwatch.network.error_texts import address_of, explain_connection_error, quoted
from everwatch.network.tls_options import ClientCertificate, Pem, TlsOptions, check_ca
from everwatch.network.tls_probe import ProbedServer, details_of
from everwatch.schedule.duration import describe_duration

ANSWER_LIMIT_BYTES = 64 * 1024
# what is kept of the tick's time to say what came instead of what was expected
_LAST_WORD_S = 0.1

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}

Escaped = Annotated[str, msgspec.Meta(max_length=4096)]


class TcpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    r"""``host`` is a name or an IP address (IPv6 without brackets).

    ``send``, ``expect`` and ``expect_start`` are text with the escapes \n, \r, \t, \\ and \x00 to \xff. The expected
    answer is compared byte by byte; there are no patterns, so an answer costs what its length costs, however it
    trickles in, and what servers say first (220, +OK, SSH-2.0-) is a fixed beginning anyway.
    """

    host: Host
    port: Port
    tls: bool = False
    server_name: ServerName = ""
    verify_tls: bool = True
    ca: Pem = ""
    client_certificate: ClientCertificate | None = None
    send: Escaped = ""
    expect: Escaped = ""
    expect_start: Escaped = ""

    def __post_init__(self) -> None:
        check_host("host", self.host)
        check_server_name(self.server_name)
        of_tls = {
            "server_name": self.server_name,
            "verify_tls": not self.verify_tls,
            "ca": self.ca,
            "client_certificate": self.client_certificate,
        }
        if not self.tls and (given := [field for field, value in of_tls.items() if value]):
            raise FieldError(given[0], "it needs 'tls': true")
        check_ca(self.ca, verify=self.verify_tls, verify_field="verify_tls")
        for field in ("send", "expect", "expect_start"):
            try:
                unescape(getattr(self, field))
            except ValueError as error:
                raise FieldError(field, str(error)) from None

    @property
    def tls_options(self) -> TlsOptions:
        """Return the check's options for TLS."""
        return TlsOptions(self.verify_tls, self.ca, self.client_certificate)


class TcpKind:
    """Connects, may talk, and closes. Timings, in ms: dns, connect, tls, answer, total."""

    name = "tcp"
    config_type = TcpConfig
    default_schedule_ms = 60_000

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: TcpConfig) -> str:
        """The host that is connected to."""
        return config.host

    async def run(self, config: TcpConfig, tick: Tick, context: RunContext) -> Outcome:
        """Connect; then TLS, the text to send and the expected answer, where the config asks for them."""
        clock = context.clock
        began_s = clock.monotonic_s()
        timings: dict[str, float] = {}
        reason = ""
        try:
            connection = await connect(config.host, config.port, context, timings)
            if config.tls or config.send or config.expect or config.expect_start:
                reason = await _talk(config, tick, connection, context, began_s, timings)
            else:
                connection.close()
        except OSError as error:
            reason = explain_connection_error(error, config.host, config.port)
            if isinstance(error, ssl.SSLCertVerificationError):
                left_s = tick.timeout_ms / 1000 - (clock.monotonic_s() - began_s)
                server_name = config.server_name or config.host
                reason += await details_of(reason, ProbedServer(config.host, config.port, server_name), context, left_s)
        timings["total"] = milliseconds(clock.monotonic_s() - began_s)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings)


async def _talk(
    config: TcpConfig,
    tick: Tick,
    connection: socket.socket,
    context: RunContext,
    began_s: float,
    timings: dict[str, float],
) -> str:
    clock = context.clock
    connected_s = clock.monotonic_s()
    try:
        tls = tls_context(config.tls_options, context.outgoing) if config.tls else None
    except BaseException:
        connection.close()
        raise
    reader, writer = await open_streams(connection, tls, config.server_name or config.host)
    try:
        opened_s = clock.monotonic_s()
        left_s = began_s + tick.timeout_ms / 1000 - opened_s
        if tls is not None:
            timings["tls"] = milliseconds(opened_s - connected_s)
            if not (config.expect or config.expect_start):
                await wait_for_refusal(reader, writer, longest_refusal_s(timings["connect"] + timings["tls"], left_s))
                left_s = began_s + tick.timeout_ms / 1000 - clock.monotonic_s()
        # a server that stays silent after a wrong answer would otherwise be called silent altogether
        allowed_s = left_s - min(_LAST_WORD_S, left_s / 10)
        answer = bytearray()
        try:
            async with asyncio.timeout(allowed_s) as deadline:
                if config.send:
                    writer.write(unescape(config.send))
                    await writer.drain()
                missing = await _read_expected(reader, config, answer)
            until = "in its first 64 KiB" if len(answer) >= ANSWER_LIMIT_BYTES else "before it closed the connection"
        except TimeoutError:
            if not deadline.expired():
                raise
            missing = _missing(config, answer)
            until = f"within {describe_duration(tick.timeout_ms)}"
        if config.expect or config.expect_start:
            timings["answer"] = milliseconds(clock.monotonic_s() - opened_s)
        if not missing:
            writer.close()
            return ""
    finally:
        if not writer.is_closing():
            writer.transport.abort()
    target = address_of(config.host, config.port)
    if not answer:
        return f"{target} sent nothing {until}"
    came = quoted(answer[:400].decode(errors="backslashreplace"))
    if missing == config.expect_start and len(answer) >= len(unescape(missing)):
        return f"the answer of {target} does not start with {quoted(missing)}; it is {came}"
    return f"{target} did not send {quoted(missing)} {until}; it sent {came}"


async def _read_expected(reader: StreamReader, config: TcpConfig, answer: bytearray) -> str:
    """Read into ``answer`` until it is as expected or cannot become so; return the reason, "" if it is."""
    start, needle = unescape(config.expect_start), unescape(config.expect)
    found = not needle
    while True:
        if not start.startswith(answer[: len(start)]):
            return config.expect_start
        if found and len(answer) >= len(start):
            return ""
        searched = max(0, len(answer) - len(needle) + 1)
        chunk = await reader.read(ANSWER_LIMIT_BYTES - len(answer)) if len(answer) < ANSWER_LIMIT_BYTES else b""
        if not chunk:
            return _missing(config, answer)
        answer += chunk
        found = found or answer.find(needle, searched) >= 0


def _missing(config: TcpConfig, answer: bytearray) -> str:
    if not answer.startswith(unescape(config.expect_start)):
        return config.expect_start
    return config.expect if unescape(config.expect) not in answer else ""


@lru_cache(maxsize=1024)
def unescape(text: str) -> bytes:
    r"""The bytes that ``text`` (UTF-8, with the escapes \n, \r, \t, \\ and \x00 to \xff) stands for.

    Raises ValueError with one sentence.
    """
    result, end = bytearray(), 0
    for match in _ESCAPE.finditer(text):
        result += text[end : match.start()].encode()
        end = match.end()
        if match[1]:
            result.append(int(match[1], 16))
        elif match[2] in _ESCAPES:
            result += _ESCAPES[match[2]]
        else:
            raise ValueError(f"{match[0]!r} is no escape; known are \\n, \\r, \\t, \\\\ and \\x00 to \\xff")
    return bytes(result + text[end:].encode())
