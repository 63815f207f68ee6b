"""Network errors as sentences for people."""

import errno
import socket
import ssl

from everwatch.core.errors import TargetForbidden


class UnusableCertificate(OSError):
    """The client's certificate cannot be used; ``str()`` is one sentence without any of it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the client certificate of this monitor cannot be used: {why or 'it is not valid'}")


def explain_connection_error(error: OSError, host: str, port: int | None) -> str:
    """One sentence: why there is no connection to ``host``:``port``."""
    target = address_of(host, port)
    if isinstance(error, TargetForbidden | UnusableCertificate):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return explain_certificate_error(error, host)
    if isinstance(error, ssl.SSLError):
        said = spoken(error)
        if "alert certificate required" in said:
            return f"{target} wants a client certificate"
        return f"TLS handshake with {target} failed: {said or error.strerror or str(error) or 'no reason is given'}"
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return f"name {host} could not be looked up: the name server does not answer"
        if error.errno == socket.EAI_FAIL:
            return f"name {host} could not be looked up: {_said(error)}"
        if error.errno == socket.EAI_NODATA:
            return f"name {host} has no address"
        return f"name {host} does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {target}"
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return f"connection closed by {target}"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no route to {target}"
    if isinstance(error, TimeoutError):
        return f"{target} does not accept the connection"
    return f"no connection to {target}: {error.strerror or str(error) or type(error).__name__}"


def explain_certificate_error(error: ssl.CertificateError, host: str) -> str:
    """One sentence: why the certificate that ``host`` showed is not trusted."""
    return explain_untrusted(host, getattr(error, "verify_message", "") or spoken(error) or "no reason is given")


def explain_untrusted(host: str, message: str) -> str:
    """One sentence: why the certificate of ``host`` is not trusted, as OpenSSL says it."""
    # the sentence goes on, but an abbreviation stays as it is
    if not message[:2].isupper():
        message = message[:1].lower() + message[1:]
    # one version of OpenSSL blames our clock, too
    message = message.rstrip(".").removesuffix(" or the system clock is incorrect")
    return f"certificate of {host} is not trusted: {message}"


def quoted(text: str, limit: int = 200) -> str:
    """``text`` from outside in quotes: on one line, printable, and at most ``limit`` characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: 2 * limit])
    line = " ".join(line.split())
    return f"'{line if len(line) <= limit and len(text) <= 2 * limit else line[: limit - 1] + '…'}'"


def address_of(host: str, port: int | None) -> str:
    """``host``:``port`` as people write it, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _said(error: socket.gaierror) -> str:
    what = (error.strerror or "no usable answer").rstrip(".")
    return what[:1].lower() + what[1:] if what[1:2].islower() else what


def spoken(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words, "" if it has none."""
    # only OpenSSL's own errors have a reason
    return (getattr(error, "reason", None) or "").replace("_", " ").lower()
