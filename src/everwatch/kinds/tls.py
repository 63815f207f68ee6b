"""The kind ``tls``: is the certificate of a server trusted, and for how long still?"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from everwatch.kinds.protocol import RunContext
from everwatch.kinds.reasons import explain_connection_error, quoted
from everwatch.kinds.tcp import (
    Host,
    Port,
    ServerName,
    check_host,
    check_server_name,
    connect,
    milliseconds,
    open_streams,
    tls_context,
)
from everwatch.model import Outcome, Status, Tick
from everwatch.schedule.duration import DAY_MS

# how long a second look at a certificate that is not trusted may take
_SECOND_LOOK_S = 5.0


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``days_left``: fewer are a failure. ``server_name``: who is asked for and must be in the certificate."""

    host: Host
    port: Port = 443
    server_name: ServerName = ""
    days_left: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 14
    verify: bool = True
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        check_host("host", self.host)
        check_server_name(self.server_name)


@dataclass(frozen=True)
class Certificate:
    """What a person needs to know of a certificate. ``expires_at`` in ms since the epoch."""

    subject: str
    issuer: str
    expires_at: int

    def describe(self, now_ms: int) -> str:
        """Subject, issuer and the whole days left, for a sentence."""
        return f"subject {quoted(self.subject)}, issuer {quoted(self.issuer)}, {self._left(now_ms)}"

    def _left(self, now_ms: int) -> str:
        days = abs(self.expires_at - now_ms) // DAY_MS
        number = f"{days} day" if days == 1 else f"{days} days"
        return f"{number} left" if self.expires_at >= now_ms else f"expired {number} ago"


class TlsKind:
    """One handshake. Timings, in ms: dns, connect, tls, total."""

    name = "tls"
    config_type = TlsConfig
    default_schedule_ms = 3_600_000

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: TlsConfig) -> str:
        """The host that is connected to."""
        return config.host

    async def run(self, config: TlsConfig, tick: Tick, context: RunContext) -> Outcome:
        """Shake hands and read the server's certificate; one that is not trusted is looked at once more."""
        clock = context.clock
        began_s = clock.monotonic_s()
        timings: dict[str, float] = {}
        try:
            certificate, version = await _look(config, context, timings, verify=config.verify)
            reason = _judge(config, certificate, version, clock.now_ms())
        except _Unreadable as error:
            reason = str(error)
        except OSError as error:
            reason = explain_connection_error(error, config.host, config.port)
            if reason.startswith("certificate "):
                left_s = tick.timeout_ms / 1000 - (clock.monotonic_s() - began_s)
                reason += await _details(config, context, min(_SECOND_LOOK_S, left_s / 2))
        timings["total"] = milliseconds(clock.monotonic_s() - began_s)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings)


class _Unreadable(Exception):
    """The server's certificate is none that we can read."""


async def _look(
    config: TlsConfig, context: RunContext, timings: dict[str, float], *, verify: bool
) -> tuple[Certificate, str]:
    connection = await connect(config.host, config.port, context, timings)
    began_s = context.clock.monotonic_s()
    _, writer = await open_streams(connection, tls_context(verify=verify), config.server_name or config.host)
    try:
        timings["tls"] = milliseconds(context.clock.monotonic_s() - began_s)
        session = writer.get_extra_info("ssl_object")
        version: str = session.version().removeprefix("TLSv")
        try:
            return read_certificate(session.getpeercert(binary_form=True) or b""), version
        except ValueError as error:
            raise _Unreadable(f"the certificate of {config.host} cannot be read: {error}") from None
    finally:
        writer.close()


async def _details(config: TlsConfig, context: RunContext, timeout_s: float) -> str:
    # a handshake that fails for its certificate does not show it, so ask again without looking at trust
    try:
        async with asyncio.timeout(timeout_s):
            certificate, _ = await _look(config, context, {}, verify=False)
    except (OSError, _Unreadable):
        return ""
    return f" ({certificate.describe(context.clock.now_ms())})"


def _judge(config: TlsConfig, certificate: Certificate, version: str, now_ms: int) -> str:
    if certificate.expires_at - now_ms < config.days_left * DAY_MS or certificate.expires_at < now_ms:
        expected = "" if certificate.expires_at < now_ms else f", expected at least {config.days_left}"
        ends = "has expired" if certificate.expires_at < now_ms else "expires soon"
        return f"certificate of {config.host} {ends}: {certificate.describe(now_ms)}{expected}"
    # versions compare as text: 1.0 to 1.3
    if version < config.minimum_version:
        return f"{config.host} speaks TLS {version}, expected at least {config.minimum_version}"
    return ""


# --- X.509 (RFC 5280), as far as the sentences above need it --------------------------------------------------------
# The standard library decodes only certificates that it has verified, and it is the others that need explaining.

_SEQUENCE, _OID, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x06, 0x17, 0x18
_OCTETS, _VERSION, _EXTENSIONS, _DNS_NAME = 0x04, 0xA0, 0xA3, 0x82
_COMMON_NAME, _ORGANIZATION, _ALTERNATIVE_NAMES = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x1d\x11"
_BMP_STRING, _TELETEX_STRING = 0x1E, 0x14


def read_certificate(der: bytes) -> Certificate:
    """The certificate in ``der``. Raises ValueError if it is none."""
    signed = _children(_only(_children(der), _SEQUENCE))
    fields = [field for field in _children(_only(signed, _SEQUENCE)) if field[0] != _VERSION]
    if len(fields) < 5:
        raise ValueError("it has too few fields")
    # serial number, signature algorithm, issuer, validity, subject, public key, ..., extensions
    issuer, validity, subject = (content for _, content in fields[2:5])
    extensions = next((content for tag, content in fields[5:] if tag == _EXTENSIONS), b"")
    _, expires = (*_children(validity), (0, b""), (0, b""))[:2]
    return Certificate(_name(subject) or _alternative_name(extensions), _name(issuer), _instant_ms(*expires))


def _name(content: bytes) -> str:
    """Common name and organization; "" if there is neither."""
    parts: dict[bytes, str] = {}
    for _, relative in _children(content):
        for _, attribute in _children(relative):
            pair = list(_children(attribute))
            if len(pair) == 2 and pair[0][0] == _OID:
                parts[pair[0][1]] = _text(*pair[1])
    return ", ".join(parts[oid] for oid in (_COMMON_NAME, _ORGANIZATION) if parts.get(oid))


def _alternative_name(extensions: bytes) -> str:
    """The first DNS name that the certificate is for: many have no subject but that."""
    for _, listed in _children(extensions):
        for _, extension in _children(listed):
            parts = list(_children(extension))
            if len(parts) >= 2 and parts[0] == (_OID, _ALTERNATIVE_NAMES) and parts[-1][0] == _OCTETS:
                names = _children(_only(_children(parts[-1][1]), _SEQUENCE))
                return next((_text(tag, name) for tag, name in names if tag == _DNS_NAME), "")
    return ""


def _text(tag: int, content: bytes) -> str:
    encoding = {_BMP_STRING: "utf-16-be", _TELETEX_STRING: "latin-1"}.get(tag, "utf-8")
    return content.decode(encoding, errors="replace")


def _instant_ms(tag: int, content: bytes) -> int:
    text = content.decode("ascii", errors="replace")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("its end is not a time")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1000


def _only(values: Iterator[tuple[int, bytes]], tag: int) -> bytes:
    found = next(values, None)
    if found is None or found[0] != tag:
        raise ValueError("it is not X.509")
    return found[1]


def _children(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER value in ``content``. Raises ValueError where it breaks off."""
    at = 0
    while at < len(content):
        tag, length = content[at], content[at + 1] if at + 1 < len(content) else -1
        at += 2
        if length > 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[at : at + size]) if at + size <= len(content) else -1
            at += size
        elif length == 0x80:
            length = -1
        if length < 0 or at + length > len(content):
            raise ValueError("it breaks off")
        yield tag, content[at : at + length]
        at += length
