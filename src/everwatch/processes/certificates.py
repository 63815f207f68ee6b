"""Expiry of the certificates that the settings name, for an alert before they expire."""

import logging
from pathlib import Path

from everwatch.core.config import Settings
from everwatch.processes.metrics import CERTIFICATE_EXPIRES

logger = logging.getLogger(__name__)


def measure_certificates(settings: Settings) -> None:
    """Set when the client's certificate and the brokers' authority expire; keeps the values of an unreadable file.

    A file of several authorities is one where old and new ones overlap: the last one counts.
    """
    if settings.ssl_certificate_file is not None:
        _measure("ssl_certificate_file", settings.ssl_certificate_file, only_first=True)
    if settings.ssl_ca_file is not None:
        _measure("ssl_ca_file", settings.ssl_ca_file, only_first=False)


def _measure(setting: str, path: Path, *, only_first: bool) -> None:
    from cryptography import x509  # most installations name no certificate

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        logger.debug("%s cannot be read: %s", path, error)
        return
    # behind the client's own certificate stand those of its authorities
    expire = [each.not_valid_after_utc.timestamp() for each in (found[:1] if only_first else found)]
    CERTIFICATE_EXPIRES.labels(setting).set(max(expire))
