"""The config of the kind ``http``."""

import base64
import re
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

import msgspec
import yarl

from everwatch.kinds.protocol import SECRET, FieldError
from everwatch.kinds.shared.body_assertions import Scalar, check_pattern, parse_path
from everwatch.kinds.shared.secret_fields import check_apart
from everwatch.network.host_names import parse_url
from everwatch.network.tls_options import ClientCertificate, Pem, TlsOptions, check_ca
from everwatch.schedule.duration import MINUTE_MS, describe_duration, format_duration, parse_duration_ms

_MOST_HEADERS = 64
_MOST_PATHS = 32
_LONGEST_LATENCY_MS = 10 * MINUTE_MS
_DEFAULT_STATUS = "200-299"
# shorter values are part of many words, so hiding them would reveal them
_SHORTEST_HIDDEN = 4

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_URL = re.compile(r"[\s\x00-\x1f\x7f]")
# they describe the connection and the framing, which are the client's to decide
_OWN_HEADERS = {"connection", "content-length", "transfer-encoding", "upgrade", "expect", "te"}
_STATUS_RANGE = re.compile(r"\s*([1-9]\d\d)\s*(?:-\s*([1-9]\d\d)\s*)?", re.ASCII)
_OF_BODY = ("body_contains", "body_not_contains", "body_matches", "json_equals")

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
HeaderValue = Annotated[str, msgspec.Meta(max_length=8192)]
SecretText = Annotated[str, msgspec.Meta(max_length=8192, extra=SECRET)]
Body = Annotated[str, msgspec.Meta(max_length=65_536)]
Needle = Annotated[str, msgspec.Meta(max_length=4096)]
Pattern = Annotated[str, msgspec.Meta(max_length=512)]
Path = Annotated[str, msgspec.Meta(max_length=512)]


class BasicAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """User and password (RFC 7617). Neither its repr nor what ``rich`` shows has the password."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    password: Annotated[str, msgspec.Meta(max_length=1024, extra=SECRET)]

    @property
    def credentials(self) -> str:
        """Return the credentials after "Basic " in the header."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"BasicAuth(user={self.user!r}, password='…')"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("user", self.user), ("password", "…")]


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``expected_status`` may be given as 204, "200-299,404" or a list of both; it is kept as text in normal form.

    ``max_latency`` is a duration in normal form, "" for any. ``certificate_days_left`` of 0 looks at no certificate.
    ``capture``: keep an answer that is a failure as the outcome's detail.
    """

    url: Url
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] = "GET"
    headers: dict[str, HeaderValue] = {}
    secret_headers: dict[str, SecretText] = {}
    basic_auth: BasicAuth | None = None
    bearer: SecretText = ""
    body: Body = ""
    expected_status: int | str | list[int | str] = _DEFAULT_STATUS
    body_contains: Needle = ""
    body_not_contains: Needle = ""
    body_matches: Pattern = ""
    json_equals: dict[Path, Scalar] = {}
    max_latency: str | int | float = ""
    certificate_days_left: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0
    follow_redirects: bool = True
    verify_tls: bool = True
    ca: Pem = ""
    client_certificate: ClientCertificate | None = None
    http_version: Literal["auto", "1.1", "2"] = "auto"
    keep_alive: bool = False
    capture: bool = False

    def __post_init__(self) -> None:
        check_url(self.url)
        check_headers(self.headers, self.secret_headers)
        self._check_secrets()
        self._check_assertions()
        check_ca(self.ca, verify=self.verify_tls, verify_field="verify_tls")
        if self.keep_alive and self.method in ("POST", "PATCH"):
            # RFC 9112, 9.3.1: only then may it be sent again when the server has just closed the connection
            raise FieldError("keep_alive", f"{self.method} may not be repeated, so it needs a new connection each time")
        msgspec.structs.force_setattr(self, "expected_status", _normal_status(self.expected_status))
        msgspec.structs.force_setattr(self, "max_latency", _normal_latency(self.max_latency))
        msgspec.structs.force_setattr(self, "json_equals", {p: _normal(v) for p, v in self.json_equals.items()})

    def __repr__(self) -> str:
        return f"HttpConfig({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["bearer"] = self.bearer and "…"
        # they may be secrets, too
        shown["headers"] = dict.fromkeys(self.headers, "…")
        shown["secret_headers"] = dict.fromkeys(self.secret_headers, "…")
        return list(shown.items())

    @property
    def max_latency_ms(self) -> int:
        """0 for any."""
        return parse_duration_ms(self.max_latency) if self.max_latency else 0

    def status_is_expected(self, status: int) -> bool:
        """Tell whether ``status`` is one of ``expected_status``."""
        return any(first <= status <= last for first, last in _status_ranges(str(self.expected_status)))

    @property
    def tls_options(self) -> TlsOptions:
        """Return the check's options for TLS."""
        return TlsOptions(self.verify_tls, self.ca, self.client_certificate)

    def headers_to_send(self) -> dict[str, str]:
        """``headers`` and ``secret_headers``, and the one that ``basic_auth`` or ``bearer`` stands for."""
        headers = self.headers | self.secret_headers if self.secret_headers else self.headers
        if self.basic_auth is not None:
            return headers | {"Authorization": f"Basic {self.basic_auth.credentials}"}
        if self.bearer:
            return headers | {"Authorization": f"Bearer {self.bearer}"}
        return headers

    def hide(self, text: str) -> str:
        """``text`` without password, token and secret headers: servers may send back what they were sent."""
        for secret in self._secrets():
            text = text.replace(secret, "…")
        return text

    def hide_cut(self, text: str) -> str:
        """The same for text that may have been cut: nor with the beginning of one at its end."""
        text = self.hide(text)
        for secret in self._secrets():
            for length in range(len(secret) - 1, _SHORTEST_HIDDEN - 1, -1):
                if text.endswith(secret[:length]):
                    text = text[:-length] + "…"
                    break
        return text

    def _secrets(self) -> list[str]:
        secrets = [self.bearer, *self.secret_headers.values()]
        if self.basic_auth is not None:
            secrets += [self.basic_auth.credentials, self.basic_auth.password]
        return [secret for secret in secrets if len(secret) >= _SHORTEST_HIDDEN]

    def _check_secrets(self) -> None:
        # no sentence here may quote the value
        if self.bearer and not _TOKEN.fullmatch(self.bearer):
            raise FieldError("bearer", "a token has only visible ASCII characters and no spaces")
        if self.basic_auth is not None:
            if self.bearer:
                raise FieldError("bearer", "only one of 'basic_auth' and 'bearer' can be sent")
            if ":" in self.basic_auth.user:
                raise FieldError("basic_auth.user", "a user name cannot have a colon (RFC 7617)")
            if _CONTROL.search(self.basic_auth.user) or _CONTROL.search(self.basic_auth.password):
                raise FieldError("basic_auth", "a user name or password cannot have control characters")
            try:
                _ = self.basic_auth.credentials
            except UnicodeEncodeError:
                raise FieldError("basic_auth", "the user name or password is not valid Unicode") from None
        if (self.basic_auth is not None or self.bearer) and any(
            name.lower() == "authorization" for name in (*self.headers, *self.secret_headers)
        ):
            field = "bearer" if self.bearer else "basic_auth"
            raise FieldError("headers", f"the header Authorization is given by {field!r} already")

    def _check_assertions(self) -> None:
        if self.method == "HEAD":
            for field in _OF_BODY:
                if getattr(self, field):
                    raise FieldError(field, "an answer to HEAD has no body; use GET to look into it")
        if self.body_matches:
            try:
                check_pattern(self.body_matches)
            except ValueError as error:
                raise FieldError("body_matches", str(error)) from None
        if len(self.json_equals) > _MOST_PATHS:
            raise FieldError("json_equals", f"{len(self.json_equals)} paths, and at most {_MOST_PATHS} are looked at")
        for path in self.json_equals:
            try:
                parse_path(path)
            except ValueError as error:
                raise FieldError("json_equals", str(error)) from None
        if self.certificate_days_left and yarl.URL(self.url).scheme != "https":
            raise FieldError("certificate_days_left", "only https has certificates")
        if self.certificate_days_left and self.keep_alive:
            raise FieldError(
                "certificate_days_left", "a connection that is kept shows no new certificate; leave out 'keep_alive'"
            )


def check_url(url: str) -> None:
    if _NOT_IN_URL.search(url):
        raise FieldError("url", "a URL has no spaces and no control characters; write a space as %20")
    try:
        parsed = parse_url(url)
        port = parsed.port
    except ValueError as error:
        raise FieldError("url", f"not a valid URL: {error}") from None
    if parsed.scheme not in ("http", "https"):
        raise FieldError("url", "a URL starts with http:// or https://")
    # as it goes over the wire: to make a name of other alphabets of it takes longer than all other checks
    host = parsed.raw_host
    if not host:
        raise FieldError("url", "the URL names no host")
    if parsed.user is not None or parsed.password is not None:
        raise FieldError("url", "no user name and password in a URL, where logs would show them: use headers instead")
    # other ways of writing an IPv4 address (2130706433, 127.1) are mistakes, or meant to hide where they lead
    if ":" not in host and host.rpartition(".")[2].isdigit() and not _is_ipv4(host):
        raise FieldError("url", f"the host {host} is neither a name nor an IP address")
    if port == 0:
        raise FieldError("url", "a port is a number from 1 to 65535")


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def check_headers(headers: dict[str, str], secret_headers: dict[str, str]) -> None:
    """Raise FieldError that quotes no value."""
    if (count := len(headers) + len(secret_headers)) > _MOST_HEADERS:
        raise FieldError("headers", f"{count} headers, and at most {_MOST_HEADERS} are sent")
    for field, some in (("headers", headers), ("secret_headers", secret_headers)):
        for name, value in some.items():
            if not _HEADER_NAME.fullmatch(name):
                raise FieldError(field, f"{name!r} is not a header's name")
            if name.lower() in _OWN_HEADERS:
                raise FieldError(field, f"the header {name} is the client's own to set")
            if _NOT_IN_HEADER_VALUE.search(value):
                raise FieldError(field, f"the value of the header {name} has a line break or another control character")
    check_apart(headers, secret_headers)


def _normal_status(given: int | str | list[int | str]) -> str:
    parts = given if isinstance(given, list) else [given]
    ranges = sorted(_status_range(part) for item in parts for part in str(item).split(","))
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    if not merged:
        raise FieldError("expected_status", "the list is empty: name at least one status")
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in merged)


def _status_range(text: str) -> tuple[int, int]:
    match = _STATUS_RANGE.fullmatch(text)
    if match is None:
        raise FieldError("expected_status", f"{text!r} is not a status such as 204 or a range such as 200-299")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise FieldError("expected_status", f"the range {text!r} is empty: its end comes before its start")
    return first, last


@lru_cache(maxsize=1024)
def _status_ranges(normal: str) -> tuple[tuple[int, int], ...]:
    return tuple(_status_range(part) for part in normal.split(","))


def _normal_latency(given: str | int | float) -> str:
    if given == "":
        return ""
    try:
        latency_ms = parse_duration_ms(given)
    except ValueError as error:
        raise FieldError("max_latency", str(error)) from None
    if not 1 <= latency_ms <= _LONGEST_LATENCY_MS:
        raise FieldError("max_latency", f"{given!r} is not between 1 ms and {describe_duration(_LONGEST_LATENCY_MS)}")
    return format_duration(latency_ms)


def _normal(value: Scalar) -> Scalar:
    # 1.0 and 1 are one number, and have one text; floats have no others between whole numbers up to 2 ** 53
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value
