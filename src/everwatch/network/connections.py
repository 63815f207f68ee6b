"""A connection to addresses that the guard has seen, and TLS over it, for the kinds that speak no HTTP."""

import asyncio
import os
import re
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated, Protocol

import aiohappyeyeballs
import msgspec

from everwatch.core.clock import Clock
from everwatch.core.config_fields import FieldError
from everwatch.core.errors import TargetForbidden
from everwatch.network.egress import Egress
from everwatch.network.error_texts import UnusableCertificate, spoken
from everwatch.network.guard import Guard
from everwatch.network.host_names import to_ascii
from everwatch.network.tls_options import ClientCertificate, TlsOptions

# configs are validated here, too: that takes no resolver
if TYPE_CHECKING:
    from everwatch.network.resolver import AddressInfo, Resolver

_NOT_IN_HOST = re.compile(r"[\s\x00-\x1f\x7f/@?#\[\]]")
# RFC 8305: head start of one address before the next is tried beside it
_HEAD_START_S = 0.25
# a handshake ends with its check, which no tick allows more than 10 minutes
_HANDSHAKE_S = 11 * 60.0
# how long the other side may take to say goodbye; the check is over by then
_SHUTDOWN_S = 1.0
# how long a refusal of the client's certificate may take, where nothing else tells that there is none: beside twice the
# time that it took to connect, with the handshake
_REFUSAL_S = 0.25
_LONGEST_REFUSAL_S = 1.0
# of what is left of the check's time
_REFUSAL_SHARE = 0.75
# the first of the waits for it
_LOOK_S = 0.01
# turns of an event loop, from bytes in a socket to an exception of its reader, with some to spare
_TURNS = 6

Host = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
ServerName = Annotated[str, msgspec.Meta(max_length=253)]


class NetworkContext(Protocol):
    """Means of a connection, a part of the ``RunContext`` of kinds."""

    @property
    def clock(self) -> Clock: ...

    @property
    def guard(self) -> Guard: ...

    @property
    def resolver(self) -> "Resolver": ...

    @property
    def outgoing(self) -> Egress: ...


def check_host(field: str, host: str) -> None:
    """Raise FieldError unless ``host`` may be a name or an IP address (IPv6 without brackets)."""
    if not host or _NOT_IN_HOST.search(host):
        raise FieldError(field, f"{host!r} is not a host name or an IP address")
    try:
        to_ascii(host)
    except ValueError as error:
        raise FieldError(field, str(error)) from None


def check_server_name(name: str) -> None:
    """Raise FieldError unless ``name`` can be sent in a TLS handshake; "" is fine."""
    if not name:
        return
    check_host("server_name", name)
    try:
        to_ascii(name).encode("idna")  # of ASCII: it checks the lengths
    except UnicodeError:
        raise FieldError("server_name", f"{name!r} is not a host name") from None
    if name.startswith("."):
        raise FieldError("server_name", f"{name!r} is not a host name")


async def connect(host: str, port: int, context: NetworkContext, timings: dict[str, float]) -> socket.socket:
    """Resolve once, then connect to addresses that the guard has seen, and to no others.

    Notes ``dns`` and ``connect``, in ms, in ``timings``. Raises OSError.
    """
    clock = context.clock
    began_s = clock.monotonic_s()
    found = await context.resolver.addresses(host, port)
    resolved_s = clock.monotonic_s()
    timings["dns"] = milliseconds(resolved_s - began_s)
    connection = await aiohappyeyeballs.start_connection(
        allowed_addresses(found, context.guard), happy_eyeballs_delay=_HEAD_START_S
    )
    timings["connect"] = milliseconds(clock.monotonic_s() - resolved_s)
    return connection


async def open_streams(
    connection: socket.socket, tls: ssl.SSLContext | None = None, server_name: str = ""
) -> tuple[StreamReader, StreamWriter]:
    """Streams over ``connection``, which is theirs to close from now on, even if this fails.

    With ``tls`` they are encrypted and the certificate is checked against ``server_name``. Raises OSError, also where
    the server of TLS 1.3 has refused the client's certificate already.
    """
    try:
        if tls is None:
            return await asyncio.open_connection(sock=connection)
        reader, writer = await asyncio.open_connection(
            sock=connection,
            ssl=tls,
            server_hostname=to_ascii(server_name).removesuffix("."),
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )
        if _version(writer) is None:
            await _raise_refusal(reader)
            raise ConnectionError
        return reader, writer
    except ConnectionError as error:
        connection.close()
        if tls is None:
            raise
        raise ssl.SSLError(ssl.SSL_ERROR_EOF, "the connection was closed") from error
    except BaseException:
        connection.close()
        raise


def longest_refusal_s(opened_ms: float, left_s: float) -> float:
    """Return how long to wait for a refusal, where connecting and the handshake took ``opened_ms``.

    ``left_s``: what is left of the check's time, of which some is kept, for a slow server that refuses nothing.
    """
    return max(0.0, min(_LONGEST_REFUSAL_S, _REFUSAL_S + 2 * opened_ms / 1000, _REFUSAL_SHARE * left_s))


def looks_within(longest_s: float) -> Iterator[float]:
    """Yield waits that last ``longest_s`` together, each as long as all before."""
    waited_s, wait_s = 0.0, min(_LOOK_S, longest_s)
    while wait_s > 0:
        yield wait_s
        waited_s += wait_s
        wait_s = min(waited_s, longest_s - waited_s)


async def wait_for_refusal(reader: StreamReader, writer: StreamWriter, longest_s: float) -> None:
    """Wait for what a server of TLS 1.3 may have against the client's certificate, or against having none.

    It says so after the handshake is over for the client (RFC 8446, 4.4.2.4). If it has no objection, most servers send
    a session ticket then, which those that want a certificate do only once they have looked at it (4.6.1); one that
    sends nothing is waited for until ``longest_s`` have passed. Raises OSError.
    """
    session = writer.get_extra_info("ssl_object")
    if _version(writer) not in ("TLSv1.3", None):
        return
    with suppress(ConnectionError):
        # counted is what was asked for: a process that stands still for a while has not waited
        for wait_s in looks_within(longest_s):
            if not _version(writer) or session.session.has_ticket:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await reader.read(1)
                return
    # a timer may ring before the loop has passed on what has come meanwhile (uvloop looks at timers first)
    await _raise_refusal(reader)


def _version(writer: StreamWriter) -> str | None:
    """Return the version of TLS; None once an error of TLS has ended the session, which its reader may not know yet."""
    version: str | None = writer.get_extra_info("ssl_object").version()
    return version


async def _raise_refusal(reader: StreamReader) -> None:
    """Raise the error of TLS that has ended the connection, if one has."""
    for _ in range(_TURNS):
        if isinstance(error := reader.exception(), ssl.SSLError):
            raise error
        await asyncio.sleep(0)


def tls_context(options: TlsOptions, outgoing: Egress) -> ssl.SSLContext:
    """The TLS context for these options, made once: loading the trusted certificates takes a while. Raises OSError."""
    return _tls_context(options, outgoing.ca_file, ssl.get_default_verify_paths())


@lru_cache(maxsize=64)
def _tls_context(options: TlsOptions, ca_file: str, _roots: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # RFC 6125, 6.4.4 and RFC 9525: browsers, Go and libcurl's other backends do not look at it either
    context.hostname_checks_common_name = False
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.ca:
        context.load_verify_locations(cadata=options.ca)
    elif ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    if options.client is not None:
        _load_client(context, options.client)
    return context


def _load_client(context: ssl.SSLContext, client: ClientCertificate) -> None:
    pem = f"{client.certificate}\n{client.key}\n".encode()
    # OpenSSL reads it from a file only: one that has no name, and that no other process sees
    with os.fdopen(os.memfd_create("client"), "wb") if hasattr(os, "memfd_create") else NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        path = f"/proc/self/fd/{file.fileno()}" if hasattr(os, "memfd_create") else file.name
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise UnusableCertificate(spoken(error)) from None


def allowed_addresses(found: "list[AddressInfo]", guard: Guard) -> "list[AddressInfo]":
    """Those of ``found`` that checks may reach. Raises TargetForbidden if there is none."""
    allowed, refusal = [], None
    for info in found:
        try:
            guard.check(info[4][0])
        except TargetForbidden as error:
            refusal = refusal or error
        else:
            allowed.append(info)
    if not allowed:
        raise refusal or OSError("it has no address")
    return allowed


def milliseconds(seconds: float) -> float:
    """``seconds`` in ms, to the microsecond."""
    return round(seconds * 1000, 3)
