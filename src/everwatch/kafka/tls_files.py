"""The files that TLS needs, judged before a client is made of them: its own errors say neither which file nor why."""

import ssl
from functools import lru_cache
from pathlib import Path

from everwatch.core.config import SecurityProtocol, Settings
from everwatch.core.errors import SettingsError


@lru_cache(maxsize=8)
def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for asyncio clients, or None where the brokers are spoken to in the clear.

    Raises SettingsError for a file that is missing or wrong, or a password that does not open the key.
    """
    if settings.security_protocol not in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL):
        return None
    ca, certificate, key = settings.ssl_ca_file, settings.ssl_certificate_file, settings.ssl_key_file
    for setting, path in (("SSL_CA_FILE", ca), ("SSL_CERTIFICATE_FILE", certificate), ("SSL_KEY_FILE", key)):
        _check_readable(setting, path)
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (ssl.SSLError, ValueError):
        raise SettingsError(f"setting EVERWATCH_SSL_CA_FILE: {ca} holds no certificate in PEM") from None
    if certificate:
        password = settings.ssl_key_password.get_secret_value()
        try:
            # a callable is asked only for a key that is encrypted, and without it OpenSSL would ask the terminal
            context.load_cert_chain(str(certificate), str(key), lambda: password)
        except (ssl.SSLError, ValueError) as error:
            raise SettingsError(_unfit(certificate, key, password, error)) from None
    return context


def _check_readable(setting: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"setting EVERWATCH_{setting}: {path} cannot be read ({error.strerror})") from None


def _unfit(certificate: Path, key: Path | None, password: str, error: Exception) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return (
            f"settings EVERWATCH_SSL_KEY_FILE, EVERWATCH_SSL_CERTIFICATE_FILE: {key} is not the key of the certificate"
            f" in {certificate}"
        )
    if key is not None and b"ENCRYPTED" in key.read_bytes():
        what = "is not the password of" if password else "is empty, and a password is needed for"
        return f"setting EVERWATCH_SSL_KEY_PASSWORD: it {what} the key in {key}"
    return (
        f"settings EVERWATCH_SSL_CERTIFICATE_FILE, EVERWATCH_SSL_KEY_FILE: {certificate} and {key} are not a"
        " certificate and its key in PEM"
    )
