"""A second look at a server, with TLS alone: at a certificate that failed the handshake, or at why it hung up."""

import asyncio
import ssl
from asyncio import StreamWriter
from typing import Any, NamedTuple

from everwatch.network.certificate import Certificate, read_certificate
from everwatch.network.connections import (
    NetworkContext,
    connect,
    longest_refusal_s,
    milliseconds,
    open_streams,
    tls_context,
    wait_for_refusal,
)
from everwatch.network.error_texts import explain_connection_error, spoken
from everwatch.network.tls_options import TlsOptions

# how long it may take at most
_LONGEST_S = 5.0
# what OpenSSL says of a certificate, any of the chain, whose time is over or has not come
_DATES = ("certificate has expired", "certificate is not yet valid")


class ProbedServer(NamedTuple):
    """A server to look at. ``name``: that its certificate should be for."""

    host: str
    port: int
    name: str


async def details_of(
    reason: str, server: ProbedServer, context: NetworkContext, left_s: float, *, always: bool = False
) -> str:
    """Return details for ``reason``, which says that the server's certificate is not trusted; "" for none.

    Where it is for its dates, that names the certificate of the chain whose dates they are, which need not be the
    server's own. Otherwise the server's own is described, if that is ``always`` wanted. ``left_s``: what is left of the
    check's time, of which half may be spent.
    """
    by_date = any(said in reason for said in _DATES)
    if not (by_date or always):
        return ""
    now_ms = context.clock.now_ms()
    try:
        async with asyncio.timeout(min(_LONGEST_S, left_s / 2)):
            chain = await _chain(*server, context)
    except (OSError, ValueError):
        return ""
    wrong = next((at for at, one in enumerate(chain) if by_date and not one.is_current(now_ms)), 0)
    if not chain or (by_date and chain[wrong].is_current(now_ms)):
        return ""  # one that is trusted here, and that the server did not send
    within = "of its chain: " if wrong else ""
    return f" ({within}{chain[wrong].describe(now_ms)})"


async def refusal_of(host: str, port: int, options: TlsOptions, context: NetworkContext, left_s: float) -> str:
    """Return the objection of a server that hung up to the client's certificate; "" if it is not known.

    Under TLS 1.3 the request is on its way by then, and a server that closes with it unread loses what it had to say.
    """
    allowed_s = min(_LONGEST_S, left_s / 2)
    try:
        async with asyncio.timeout(allowed_s):
            tls = tls_context(options, context.outgoing)
            began_s = context.clock.monotonic_s()
            connection = await connect(host, port, context, {})
            reader, writer = await open_streams(connection, tls, host)
            opened_ms = milliseconds(context.clock.monotonic_s() - began_s)
            try:
                await wait_for_refusal(reader, writer, longest_refusal_s(opened_ms, allowed_s - opened_ms / 1000))
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return explain_connection_error(error, host, port) if " alert " in spoken(error) else ""
    except OSError:
        return ""
    return ""


async def _chain(host: str, port: int, server_name: str, context: NetworkContext) -> list[Certificate]:
    """The certificates that the server shows, its own first. Raises OSError, ValueError."""
    connection = await connect(host, port, context, {})
    tls = tls_context(TlsOptions(verify=False), context.outgoing)
    _, writer = await open_streams(connection, tls, server_name)
    try:
        return [read_certificate(der) for der in _shown(writer)]
    finally:
        writer.transport.abort()


def _shown(writer: StreamWriter) -> list[bytes]:
    session: Any = writer.get_extra_info("ssl_object")
    if not hasattr(session, "get_unverified_chain"):  # before Python 3.13 only beneath
        session = session._sslobj
    chain = session.get_unverified_chain() or []
    return [one if isinstance(one, bytes) else ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain]
