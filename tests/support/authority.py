"""Certificates that openssl makes for a test: a root, what it signs, and what those sign."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

# 'openssl ca' rather than 'req -x509': only it gives a certificate any dates on every OpenSSL 3
CA_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = policy
x509_extensions = extensions
unique_subject = no
[policy]
commonName = optional
organizationName = optional
[extensions]
{names}
basicConstraints = CA:{ca}
"""


def openssl(*command: object) -> None:
    subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)


class Pair(NamedTuple):
    """Files of a certificate (with what is between it and the root behind it) and its key."""

    certificate: Path
    key: Path

    @property
    def config(self) -> dict[str, str]:
        """As a config has a client's."""
        return {"certificate": self.certificate.read_text(), "key": self.key.read_text()}


class Authority:
    """Signs certificates; its own is at ``path``."""

    def __init__(
        self,
        folder: Path,
        subject: str = "/CN=Test Root/O=Everwatch Tests",
        names: str = "DNS:root.example",
        days: float = 3650,
    ) -> None:
        self._folder = folder
        self._number = 0
        self._root = self._sign(subject, names, days, is_authority=True)
        self.path = self._root.certificate

    @property
    def own(self) -> ssl.SSLContext:
        """The context of a server that shows the root itself, which is self-signed."""
        return _context(self._root)

    def certificate(
        self,
        names: str = "DNS:a.example,IP:127.0.0.1",
        subject: str = "/CN=a.example",
        days: float = 90,
        signer: Pair | None = None,
    ) -> ssl.SSLContext:
        """A server's context; its certificate ends in ``days`` from now. Without ``names`` it has its subject alone."""
        return _context(self._sign(subject, names, days, signer=signer or self._root))

    def pair(self, subject: str = "/CN=client") -> Pair:
        """A certificate for a client."""
        return self._sign(subject, "DNS:client.example", 90, signer=self._root)

    def intermediate(self, days: float, begins_in_days: float = -2_000) -> Pair:
        """An authority below the root."""
        return self._sign(
            "/CN=Test Intermediate", "", days, begins_in_days=begins_in_days, signer=self._root, is_authority=True
        )

    def _sign(
        self,
        subject: str,
        names: str,
        days: float,
        begins_in_days: float = -2_000,
        signer: Pair | None = None,
        is_authority: bool = False,
    ) -> Pair:
        self._number += 1
        cert, key, request, config = (
            self._folder / f"{self._number}.{what}" for what in ("cert.pem", "key.pem", "request.pem", "ca.conf")
        )
        (self._folder / "index").touch()
        alternative = f"subjectAltName = {names}" if names else ""
        config.write_text(
            CA_CONFIG.format(folder=self._folder, names=alternative, ca="TRUE" if is_authority else "FALSE")
        )
        openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
            "-out", request, "-subj", subject,
        )  # fmt: skip
        by = ["-selfsign", "-keyfile", key]
        if signer is not None:
            by = ["-cert", signer.certificate, "-keyfile", signer.key]
        openssl(
            "ca", "-batch", "-notext", "-config", config, *by, "-in", request, "-out", cert,
            "-startdate", _in_days(begins_in_days), "-enddate", _in_days(days),
        )  # fmt: skip
        if signer is not None and signer.certificate != self.path:
            cert.write_text(cert.read_text() + signer.certificate.read_text())
        return Pair(cert, key)


def _context(pair: Pair) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*pair)
    return server


def _in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")
