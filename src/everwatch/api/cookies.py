"""The session cookie, and how a request of the console's own page is distinguished from one of another page. Pure.

Cookies are shared by all ports of a host, so without TLS the name has the port: two installations on one machine do not
end each other's sessions. Behind TLS the prefix ``__Host-`` keeps other hosts of the domain from setting it.
"""

from collections.abc import Mapping

from everwatch.api.client_address import FORWARDED_PROTO
from everwatch.api.problems import Problem

CONSOLE_HEADER = "X-Everwatch-Console"
_SECURE_NAME = "__Host-everwatch"


def is_https(headers: Mapping[str, str]) -> bool:
    """Tell whether a proxy says that it was asked by HTTPS; the API itself speaks HTTP."""
    return headers.get(FORWARDED_PROTO, "").partition(",")[0].strip().lower() == "https"


def cookie_name(headers: Mapping[str, str]) -> str:
    """Return the name of the session's cookie for the address that a request was sent to."""
    if is_https(headers):
        return _SECURE_NAME
    _, colon, port = headers.get("Host", "").rpartition(":")
    return f"everwatch_{port}" if colon and port.isascii() and port.isdigit() else "everwatch_80"


def session_cookie(headers: Mapping[str, str], text: str, valid_s: int) -> str:
    """Return the Set-Cookie of a session; with ``valid_s`` 0 the one that ends it."""
    return _set_cookie(headers, cookie_name(headers), text, valid_s, "Strict")


def begun_login_cookie(headers: Mapping[str, str], text: str, valid_s: int) -> str:
    """Return the Set-Cookie of a login that was begun at the identity provider; with ``valid_s`` 0 its end.

    It comes along when a page of the provider leads back here, as a Strict one would not.
    """
    return _set_cookie(headers, _begun_name(headers), text, valid_s, "Lax")


def begun_login_in(headers: Mapping[str, str]) -> str:
    """Return the text of that cookie in a request; "" if there is none."""
    name = f"{_begun_name(headers)}="
    found = (each.strip() for each in headers.get("Cookie", "").split(";"))
    return next((each.removeprefix(name) for each in found if each.startswith(name)), "")


def _begun_name(headers: Mapping[str, str]) -> str:
    return f"{cookie_name(headers)}-begun"


def _set_cookie(headers: Mapping[str, str], name: str, text: str, valid_s: int, same_site: str) -> str:
    secure = "; Secure" if is_https(headers) else ""
    return f"{name}={text}; Max-Age={valid_s}; Path=/; HttpOnly; SameSite={same_site}{secure}"


def check_same_origin(headers: Mapping[str, str]) -> None:
    """Raise Problem unless a request comes from a page of the console.

    Pages of other origins cannot send the header without asking first, which is refused; the browser says itself where
    a request comes from, by Sec-Fetch-Site or, where it leaves that out (HTTP without TLS), by Origin.
    """
    if headers.get(CONSOLE_HEADER) != "1":
        raise _cross_site(f"with a session this takes the header {CONSOLE_HEADER}: 1")
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        is_ours = site == "same-origin"
    else:
        is_ours = headers.get("Origin", "").partition("://")[2] == headers.get("Host") != ""
    if not is_ours:
        raise _cross_site("it does not come from a page of this console")


def _cross_site(why: str) -> Problem:
    return Problem(403, "cross_site", f"This was refused: {why}.")
