"""Reasons for missing HTTP answers: libcurl's error codes and texts as sentences."""

import errno
import os
import re
from functools import cache

import pycurl
import yarl

from everwatch.network.curl_transfers import Failed
from everwatch.network.error_texts import UnusableCertificate, address_of, explain_connection_error, explain_untrusted
from everwatch.network.http_request import RequestFailed

_BROKEN_OFF = frozenset({pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR})
# codes that pycurl does not name: CURLE_HTTP2_STREAM, and CURLE_TOO_LARGE of a line of a head
_HTTP2_STREAM, _TOO_LARGE = 92, 100
_NOT_HTTP = frozenset({pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_FTP_WEIRD_SERVER_REPLY, pycurl.E_HTTP2, _HTTP2_STREAM})
_TLS_FAILED = frozenset({pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CIPHER})
_CERTIFICATE_SAID = re.compile(r"SSL certificate (?:problem|OpenSSL verify result): (.+?)(?: \(\d+\))?")
_WRONG_NAME = "no alternative certificate subject name"
_WANTS_CERTIFICATE = "alert certificate required"
_OF_TLS = "SSL routines::"


def explain(failure: Failed, url: yarl.URL, *, answering: bool, number: int) -> RequestFailed:
    """Return why a transfer from ``url`` failed; ``answering``: after a status came; ``number``: the system's errno."""
    code, said, host, port = failure.code, str(failure).rstrip(": "), url.host or "", url.port
    target = address_of(host, port)
    if code == pycurl.E_URL_MALFORMAT:
        return RequestFailed(f"name {host} does not resolve: it is not a host name")
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        failed = RequestFailed(_untrusted(said, host))
        failed.untrusted = url
        return failed
    if _WANTS_CERTIFICATE in said:
        return RequestFailed(f"{target} wants a client certificate")
    if code == pycurl.E_SSL_CERTPROBLEM or "private key" in said:
        return RequestFailed(str(UnusableCertificate("it and its key do not fit, or are not valid")))
    # under TLS 1.3 a server may refuse the client's certificate when the handshake is over for the client
    if code in _TLS_FAILED or (_OF_TLS in said and " alert " in said):
        return RequestFailed(f"TLS handshake with {target} failed: {_tls_said(said)}")
    if code == pycurl.E_GOT_NOTHING:
        return _hung_up("connection closed before an answer came", url)
    if code == _TOO_LARGE or said.startswith("Too large response headers"):
        return RequestFailed("the head of the answer is too large: at most 300 KiB are read, and 100 KiB of a line")
    if code in _NOT_HTTP:
        return RequestFailed("the answer is not valid HTTP: ", said or _name_of(code))
    if code in _BROKEN_OFF and answering:
        return RequestFailed("the answer broke off before its end")
    if code in (pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR):
        error = OSError(number or errno.ECONNRESET, os.strerror(number or errno.ECONNRESET))
        return _hung_up(explain_connection_error(error, host, port), url)
    if number and code == pycurl.E_COULDNT_CONNECT:
        return RequestFailed(explain_connection_error(OSError(number, os.strerror(number)), host, port))
    return RequestFailed("the request failed: ", said or _name_of(code))


def _hung_up(reason: str, url: yarl.URL) -> RequestFailed:
    failed = RequestFailed(reason)
    failed.hung_up = url if url.scheme == "https" else None
    return failed


def _untrusted(said: str, host: str) -> str:
    if _WRONG_NAME in said:
        return explain_untrusted(host, f"certificate is not valid for '{host}'")
    found = _CERTIFICATE_SAID.fullmatch(said)
    return explain_untrusted(host, found[1] if found else said or "no reason is given")


def _tls_said(said: str) -> str:
    # "TLS connect error: error:0A00010B:SSL routines::wrong version number" and the like
    return said.rpartition("::")[2].rpartition("error: ")[2].removesuffix(", errno 0") or said or "no reason is given"


@cache
def _name_of(code: int) -> str:
    """libcurl's name of an error: it does not always say more."""
    names = (name for name in dir(pycurl) if name.startswith("E_") and getattr(pycurl, name) == code)
    return next((name[2:].lower().replace("_", " ") for name in names), f"libcurl's error {code}")
