"""Network errors as sentences for people."""

import errno
import socket
import ssl

from everwatch.errors import TargetForbidden


def explain_connection_error(error: OSError, host: str, port: int | None) -> str:
    """One sentence: why there is no connection to ``host``:``port``."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, TargetForbidden):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return explain_certificate_error(error, host)
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake with {target} failed: {_spoken(error.reason) or error.strerror or error}"
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return f"name {host} could not be looked up: the name server does not answer"
        return f"name {host} does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {target}"
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return f"connection closed by {target}"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no route to {target}"
    if isinstance(error, TimeoutError):
        return f"{target} does not accept the connection"
    return f"no connection to {target}: {error.strerror or error}"


def explain_certificate_error(error: ssl.CertificateError, host: str) -> str:
    """One sentence: why the certificate that ``host`` showed is not trusted."""
    message = error.verify_message or str(error)
    return f"certificate of {host} is not trusted: {message[:1].lower()}{message[1:].rstrip('.')}"


def _spoken(openssl_reason: str | None) -> str:
    return (openssl_reason or "").replace("_", " ").lower()
