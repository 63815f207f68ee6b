"""TLS options of a check: the trusted authorities, and a client certificate."""

import re
import ssl
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from everwatch.core.config_fields import SECRET, FieldError
from everwatch.network.certificate import read_certificate

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_KEY = re.compile(
    r"\s*(?:-----BEGIN EC PARAMETERS-----[^-]*-----END EC PARAMETERS-----\s*)?"
    r"-----BEGIN (?P<form>(?:RSA |EC )?PRIVATE KEY)-----\s[A-Za-z0-9+/=\s]+-----END (?P=form)-----\s*"
)

Pem = Annotated[str, msgspec.Meta(max_length=65_536)]


class ClientCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate (PEM, with those between it and its root, if any) and its private key (PEM, without a password).

    ``key`` is a secret. Neither repr nor what ``rich`` shows has it.
    """

    certificate: Pem
    key: Annotated[str, msgspec.Meta(max_length=16_384, extra=SECRET)]

    def __post_init__(self) -> None:
        check_certificates("certificate", self.certificate)
        # no sentence here may quote the value
        if "ENCRYPTED" in self.key:
            raise FieldError("key", "the private key has a password; give it without one")
        if not _KEY.fullmatch(self.key):
            raise FieldError("key", "not a private key in PEM form, which begins with -----BEGIN PRIVATE KEY-----")

    def __repr__(self) -> str:
        return "ClientCertificate(certificate='…', key='…')"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("certificate", "…"), ("key", "…")]


@dataclass(frozen=True)
class TlsOptions:
    """``verify``: check the server's certificate, with ``ca`` (PEM) against these authorities and no others."""

    verify: bool = True
    ca: str = ""
    client: ClientCertificate | None = None


def check_certificates(field: str, pem: str) -> None:
    """Raise FieldError unless ``pem`` is one certificate or several in PEM form."""
    blocks = _BLOCK.findall(pem)
    if not blocks:
        raise FieldError(field, "not a certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----")
    for block in blocks:
        try:
            read_certificate(ssl.PEM_cert_to_DER_cert(block))
        except ValueError as error:
            raise FieldError(field, f"not a certificate: {error}") from None


def check_ca(ca: str, *, verify: bool, verify_field: str) -> None:
    """Raise FieldError unless ``ca`` is "", or certificates in a config that checks the server's."""
    if not ca:
        return
    if not verify:
        raise FieldError("ca", f"it needs {verify_field!r}: true")
    check_certificates("ca", ca)
