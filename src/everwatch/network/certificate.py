"""X.509 certificates (RFC 5280), as far as sentences about them need it.

The standard library decodes only certificates that it has verified, and it is the others that need explaining.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from everwatch.network.error_texts import quoted
from everwatch.schedule.duration import DAY_MS

TIME_LEFT = "certificate_left"
"""Name, among the timings of a result, of the time until the certificate that was seen ends, in ms."""
_SEQUENCE, _OID, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x06, 0x17, 0x18
_OCTETS, _VERSION, _EXTENSIONS, _DNS_NAME, _IP_ADDRESS = 0x04, 0xA0, 0xA3, 0x82, 0x87
_COMMON_NAME, _ORGANIZATION, _ALTERNATIVE_NAMES = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x1d\x11"
_BMP_STRING, _TELETEX_STRING = 0x1E, 0x14


@dataclass(frozen=True)
class Certificate:
    """A certificate for people. ``begins_at`` and ``expires_at`` in ms since the epoch.

    ``names_hosts``: whether its subjectAltName has a DNS name or an IP address; a common name does not count.
    """

    subject: str
    issuer: str
    begins_at: int
    expires_at: int
    names_hosts: bool

    def is_current(self, now_ms: int) -> bool:
        """Tell whether ``now_ms`` is within its dates."""
        return self.begins_at <= now_ms <= self.expires_at

    def describe(self, now_ms: int) -> str:
        """Subject, issuer and the whole days left, for a sentence."""
        return f"subject {quoted(self.subject)}, issuer {quoted(self.issuer)}, {self._left(now_ms)}"

    def _left(self, now_ms: int) -> str:
        if now_ms < self.begins_at:
            return f"valid in {_days(self.begins_at - now_ms)}"
        number = _days(abs(self.expires_at - now_ms))
        return f"{number} left" if self.expires_at >= now_ms else f"expired {number} ago"


def read_certificate(der: bytes) -> Certificate:
    """The certificate in ``der``. Raises ValueError if it is none."""
    signed = _children(_only(_children(der), _SEQUENCE))
    fields = [field for field in _children(_only(signed, _SEQUENCE)) if field[0] != _VERSION]
    if len(fields) < 5:
        raise ValueError("it has too few fields")
    # serial number, signature algorithm, issuer, validity, subject, public key, ..., extensions
    issuer, validity, subject = (content for _, content in fields[2:5])
    extensions = next((content for tag, content in fields[5:] if tag == _EXTENSIONS), b"")
    begins, expires = (*_children(validity), (0, b""), (0, b""))[:2]
    names = _alternative_names(extensions)
    first = next((_text(tag, name) for tag, name in names if tag == _DNS_NAME), "")
    names_hosts = any(tag in (_DNS_NAME, _IP_ADDRESS) for tag, _ in names)
    return Certificate(_name(subject) or first, _name(issuer), _instant_ms(*begins), _instant_ms(*expires), names_hosts)


def _days(span_ms: int) -> str:
    days = span_ms // DAY_MS
    return f"{days} day" if days == 1 else f"{days} days"


def _name(content: bytes) -> str:
    """Common name and organization; "" if there is neither."""
    parts: dict[bytes, str] = {}
    for _, relative in _children(content):
        for _, attribute in _children(relative):
            pair = list(_children(attribute))
            if len(pair) == 2 and pair[0][0] == _OID:
                parts[pair[0][1]] = _text(*pair[1])
    return ", ".join(parts[oid] for oid in (_COMMON_NAME, _ORGANIZATION) if parts.get(oid))


def _alternative_names(extensions: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each name that the certificate is for: many have no subject but those."""
    for _, listed in _children(extensions):
        for _, extension in _children(listed):
            parts = list(_children(extension))
            if len(parts) >= 2 and parts[0] == (_OID, _ALTERNATIVE_NAMES) and parts[-1][0] == _OCTETS:
                return list(_children(_only(_children(parts[-1][1]), _SEQUENCE)))
    return []


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
