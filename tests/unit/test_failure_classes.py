"""Each sentence that a check fails with has a class, so that failures can be counted by it."""

import errno
import os
import socket
import ssl

import pycurl
import pytest
import yarl

from everwatch.core.errors import TargetForbidden
from everwatch.kinds.execution.failure_classes import FAILURE_CLASSES, failure_class
from everwatch.network.curl_transfers import Failed
from everwatch.network.error_texts import UnusableCertificate, explain_connection_error
from everwatch.network.guard import Guard
from everwatch.network.http_errors import explain


def _os(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_os(errno.ECONNREFUSED), "refused"),
        (_os(errno.ECONNRESET), "closed"),
        (_os(errno.EPIPE), "closed"),
        (_os(errno.EHOSTUNREACH), "unreachable"),
        (_os(errno.ENETUNREACH), "unreachable"),
        (_os(errno.EADDRNOTAVAIL), "unreachable"),
        (_os(errno.ETIMEDOUT), "timeout"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "name"),
        (socket.gaierror(socket.EAI_AGAIN, "again"), "name"),
        (socket.gaierror(socket.EAI_FAIL, "it failed"), "name"),
        (socket.gaierror(socket.EAI_NODATA, "none"), "name"),
        (ssl.SSLCertVerificationError("self-signed"), "tls"),
        (ssl.SSLError("wrong version"), "tls"),
        (UnusableCertificate("no"), "tls"),
    ],
)
def test_errors_of_connections(error: OSError, expected: str) -> None:
    assert failure_class(explain_connection_error(error, "shop.example", 443)) == expected
    # the kind dns says whose
    if expected in ("refused", "closed", "unreachable"):
        assert failure_class("name server: " + explain_connection_error(error, "1.1.1.1", 53)) == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "64:ff9b::7f00:1", "not an address"])
def test_what_the_guard_forbids(address: str) -> None:
    with pytest.raises(TargetForbidden) as refusal:
        Guard(()).check(address)
    assert failure_class(str(refusal.value)) == "forbidden"


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (pycurl.E_URL_MALFORMAT, "", "name"),
        (pycurl.E_PEER_FAILED_VERIFICATION, "SSL certificate problem: self-signed certificate", "tls"),
        (pycurl.E_SSL_CONNECT_ERROR, "TLS connect error: error:0A00010B:SSL routines::wrong version number", "tls"),
        (pycurl.E_SSL_CERTPROBLEM, "", "tls"),
        (pycurl.E_GOT_NOTHING, "", "closed"),
    ],
)
def test_errors_of_requests(code: int, said: str, expected: str) -> None:
    failed = explain(Failed(code, said), yarl.URL("https://shop.example/"), answering=False, number=0)
    assert failure_class(str(failed)) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("status 503, expected 200-299", "status"),
        ("no answer within 10 s", "timeout"),
        ("took 812 ms, expected at most 500 ms", "timeout"),
        ("body does not contain 'welcome'", "content"),
        ("the JSON of the body has no '$.ok'", "content"),
        ("internal error: KeyError: 'oops'", "internal"),
        ("the outgoing proxy cannot be reached, or does not answer as one", "proxy"),
        ("certificate of shop.example expires too soon: 3 days left", "tls"),
        ("topic orders is not allowed; an operator can allow it", "forbidden"),
        ("my own words", "other"),
        ("", "other"),
    ],
)
def test_what_kinds_say(reason: str, expected: str) -> None:
    assert failure_class(reason) == expected
    assert expected in FAILURE_CLASSES
