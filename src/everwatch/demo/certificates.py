"""Certificates for the demo's TLS server: one that is fine, one that has expired, and the authority of both.

Made at run time with the standard library alone, because a demo runs where there may be neither openssl nor a package
for this. Keys are on the curve P-256 (FIPS 186-4), signatures ECDSA with SHA-256, certificates as RFC 5280 and RFC 5480
say, keys as RFC 5915 does. The arithmetic does not hide the keys from timing attacks: they guard nothing.
"""

import base64
import hashlib
import secrets
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from everwatch.core.private_files import make_private_folder
from everwatch.schedule.duration import DAY_MS

HEALTHY_NAME = "shop.demo.example"
EXPIRED_NAME = "old-shop.demo.example"
_AUTHORITY = "Everwatch Demo Authority"

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_ECDSA_WITH_SHA256, _EC_KEY, _P256 = "2a8648ce3d040302", "2a8648ce3d0201", "2a8648ce3d030107"
_COMMON_NAME, _SUBJECT_KEY, _KEY_USAGE, _NAMES, _BASIC, _AUTHORITY_KEY = (
    "550403", "551d0e", "551d0f", "551d11", "551d13", "551d23",
)  # fmt: skip
_INTEGER, _BITS, _OCTETS, _OID, _UTF8, _TIME, _SEQUENCE, _SET = 0x02, 0x03, 0x04, 0x06, 0x0C, 0x18, 0x30, 0x31
_TRUE = bytes.fromhex("0101ff")

Point = tuple[int, int] | None


class DemoCertificates(NamedTuple):
    """PEM files: what to trust (the system's authorities too), and a certificate with its key for each server name."""

    trusted: Path
    servers: dict[str, Path]


def files_in(folder: Path) -> DemoCertificates:
    """Return where the files are, whether or not they have been written."""
    servers = {name: folder / f"{name}.pem" for name in (HEALTHY_NAME, EXPIRED_NAME)}
    return DemoCertificates(folder / "trusted.pem", servers)


def write_certificates(folder: Path, now_ms: int) -> DemoCertificates:
    """Make all of them anew: one has 90 days left at ``now_ms``, the other expired 12 days before."""
    make_private_folder(folder)
    files = files_in(folder)
    authority, server = secrets.randbelow(_N - 1) + 1, secrets.randbelow(_N - 1) + 1
    own = _certificate(_AUTHORITY, authority, authority, now_ms - 400 * DAY_MS, now_ms + 400 * DAY_MS)
    files.trusted.write_text(_system_authorities() + _pem("CERTIFICATE", own))
    for name, ends_in_days in ((HEALTHY_NAME, 90), (EXPIRED_NAME, -12)):
        made = _certificate(name, server, authority, now_ms - 100 * DAY_MS, now_ms + ends_in_days * DAY_MS)
        files.servers[name].write_text(_pem("EC PRIVATE KEY", _private_key(server)) + _pem("CERTIFICATE", made))
    return files


def _system_authorities() -> str:
    # a client that trusts the demo's authority still trusts the others: Kafka may be behind TLS
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_text() if path else ""


def _certificate(name: str, key: int, signer: int, begins: int, ends: int) -> bytes:
    """The certificate of ``name``, signed with the authority's key; the authority's own if that is ``key``, too."""
    algorithm = _der(_SEQUENCE, _oid(_ECDSA_WITH_SHA256))
    mine, theirs = (hashlib.sha1(_public(of), usedforsecurity=False).digest() for of in (key, signer))
    if key == signer:
        extensions = [
            _extension(_BASIC, _der(_SEQUENCE, _TRUE), critical=True),
            _extension(_KEY_USAGE, bytes.fromhex("03020106"), critical=True),  # keyCertSign, cRLSign
        ]
    else:
        extensions = [_extension(_NAMES, _der(_SEQUENCE, _der(0x82, name.encode())))]
    extensions += [
        _extension(_SUBJECT_KEY, _der(_OCTETS, mine)),
        _extension(_AUTHORITY_KEY, _der(_SEQUENCE, _der(0x80, theirs))),
    ]
    signed = _der(
        _SEQUENCE,
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(64) + 1),
        algorithm,
        _name(_AUTHORITY),
        _der(_SEQUENCE, _instant(begins), _instant(ends)),
        _name(name),
        _der(_SEQUENCE, _der(_SEQUENCE, _oid(_EC_KEY), _oid(_P256)), _der(_BITS, b"\0", _public(key))),
        _der(0xA3, _der(_SEQUENCE, *extensions)),
    )
    return _der(_SEQUENCE, signed, algorithm, _der(_BITS, b"\0", _sign(signer, signed)))


def _private_key(key: int) -> bytes:
    public = _der(0xA1, _der(_BITS, b"\0", _public(key)))
    return _der(_SEQUENCE, _integer(1), _der(_OCTETS, key.to_bytes(32)), _der(0xA0, _oid(_P256)), public)


# --- ECDSA on P-256 -------------------------------------------------------------------------------------------------


def _sign(key: int, data: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(data).digest())
    while True:
        once = secrets.randbelow(_N - 1) + 1
        point = _times(once, _G)
        assert point is not None  # only a multiple of the order gives none
        r = point[0] % _N
        s = pow(once, -1, _N) * (digest + r * key) % _N
        if r and s:
            return _der(_SEQUENCE, _integer(r), _integer(s))


def _public(key: int) -> bytes:
    point = _times(key, _G)
    assert point is not None
    return b"\x04" + point[0].to_bytes(32) + point[1].to_bytes(32)


def _times(factor: int, point: Point) -> Point:
    product: Point = None
    while factor:
        if factor & 1:
            product = _plus(product, point)
        point = _plus(point, point)
        factor >>= 1
    return product


def _plus(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (x, y), (u, v) = one, other
    if x == u and (y + v) % _P == 0:
        return None
    slope = (3 * x * x - 3) * pow(2 * y, -1, _P) if one == other else (v - y) * pow(u - x, -1, _P)
    sum_x = (slope * slope - x - u) % _P
    return sum_x, (slope * (x - sum_x) - y) % _P


# --- DER (X.690) ----------------------------------------------------------------------------------------------------


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _oid(encoded: str) -> bytes:
    return _der(_OID, bytes.fromhex(encoded))


def _name(common_name: str) -> bytes:
    return _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _oid(_COMMON_NAME), _der(_UTF8, common_name.encode()))))


def _instant(at_ms: int) -> bytes:
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    # RFC 5280: two digits for the year up to 2049
    return _der(0x17 if at.year < 2050 else _TIME, f"{at:%Y%m%d%H%M%SZ}"[2 if at.year < 2050 else 0 :].encode())


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _der(_SEQUENCE, _oid(oid), _TRUE if critical else b"", _der(_OCTETS, value))


def _pem(label: str, der: bytes) -> str:
    text = base64.encodebytes(der).decode().replace("\n", "")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
