"""Certificates that openssl makes for a test: a root, what it signs, and what those sign."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
subjectAltName = {names}
basicConstraints = CA:{ca}
"""


def openssl(*command: object) -> None:
    subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)


class Authority:
    """Signs certificates; its own is at ``path``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.path, self._key = self._sign("/CN=Test Root/O=Everwatch Tests", "DNS:root.example", days=3650)

    def certificate(
        self, names: str = "DNS:a.example,IP:127.0.0.1", subject: str = "/CN=a.example", days: float = 90
    ) -> ssl.SSLContext:
        """A server's context; its certificate ends in ``days`` from now."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*self._sign(subject, names, days))
        return server

    def _sign(self, subject: str, names: str, days: float) -> tuple[Path, Path]:
        self._number += 1
        cert, key, request, config = (
            self._folder / f"{self._number}.{what}" for what in ("cert.pem", "key.pem", "request.pem", "ca.conf")
        )
        (self._folder / "index").touch()
        first = self._number == 1
        config.write_text(CA_CONFIG.format(folder=self._folder, names=names, ca="TRUE" if first else "FALSE"))
        end = (datetime.now(UTC) + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")
        openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
            "-out", request, "-subj", subject,
        )  # fmt: skip
        signer = ["-selfsign", "-keyfile", key] if first else ["-cert", self.path, "-keyfile", self._key]
        openssl(
            "ca", "-batch", "-notext", "-config", config, *signer, "-in", request, "-out", cert,
            "-startdate", "20200101000000Z", "-enddate", end,
        )  # fmt: skip
        return cert, key
