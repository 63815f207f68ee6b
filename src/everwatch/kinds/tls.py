"""The kind ``tls``: is the certificate of a server trusted, and for how long still?"""

from typing import Annotated, Literal

import msgspec

from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.certificate import TIME_LEFT, Certificate, read_certificate
from everwatch.network.connections import (
    Host,
    Port,
    ServerName,
    check_host,
    check_server_name,
    connect,
    longest_refusal_s,
    milliseconds,
    open_streams,
    tls_context,
    wait_for_refusal,
)
from everwatch.network.error_texts import explain_connection_error
from everwatch.network.tls_options import ClientCertificate, Pem, TlsOptions, check_ca
from everwatch.network.tls_probe import ProbedServer, details_of
from everwatch.schedule.duration import DAY_MS


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``days_left``: fewer are a failure. ``server_name``: asked for in the handshake; must be in the certificate."""

    host: Host
    port: Port = 443
    server_name: ServerName = ""
    days_left: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 14
    verify: bool = True
    ca: Pem = ""
    client_certificate: ClientCertificate | None = None
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        check_host("host", self.host)
        check_server_name(self.server_name)
        check_ca(self.ca, verify=self.verify, verify_field="verify")


class TlsKind:
    """One handshake. Timings, in ms: dns, connect, tls, total; and how long the certificate is valid still."""

    name = "tls"
    config_type = TlsConfig
    default_schedule_ms = 3_600_000

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: TlsConfig) -> str:
        """The host that is connected to."""
        return config.host

    async def run(self, config: TlsConfig, tick: Tick, context: RunContext) -> Outcome:
        """Shake hands and read the server's certificate; one that is not trusted is looked at once more."""
        clock = context.clock
        began_s = clock.monotonic_s()
        timings: dict[str, float] = {}
        try:
            certificate, version = await _look(config, context, timings, began_s + tick.timeout_ms / 1000)
            now_ms = clock.now_ms()
            reason = _judge(config, certificate, version, now_ms)
            timings[TIME_LEFT] = certificate.expires_at - now_ms
        except _Unreadable as error:
            reason = str(error)
        except OSError as error:
            reason = explain_connection_error(error, config.host, config.port)
            if reason.startswith("certificate "):
                left_s = tick.timeout_ms / 1000 - (clock.monotonic_s() - began_s)
                server_name = config.server_name or config.host
                reason += await details_of(
                    reason, ProbedServer(config.host, config.port, server_name), context, left_s, always=True
                )
        timings["total"] = milliseconds(clock.monotonic_s() - began_s)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings)


class _Unreadable(Exception):
    """The server's certificate is none that we can read."""


async def _look(
    config: TlsConfig, context: RunContext, timings: dict[str, float], deadline_s: float
) -> tuple[Certificate, str]:
    options = TlsOptions(config.verify, config.ca, config.client_certificate)
    tls = tls_context(options, context.outgoing)
    connection = await connect(config.host, config.port, context, timings)
    began_s = context.clock.monotonic_s()
    reader, writer = await open_streams(connection, tls, config.server_name or config.host)
    try:
        timings["tls"] = milliseconds(context.clock.monotonic_s() - began_s)
        session = writer.get_extra_info("ssl_object")
        version: str = session.version().removeprefix("TLSv")
        try:
            certificate = read_certificate(session.getpeercert(binary_form=True) or b"")
        except ValueError as error:
            raise _Unreadable(f"the certificate of {config.host} cannot be read: {error}") from None
        left_s = deadline_s - context.clock.monotonic_s()
        await wait_for_refusal(reader, writer, longest_refusal_s(timings["connect"] + timings["tls"], left_s))
        return certificate, version
    finally:
        writer.close()


def _judge(config: TlsConfig, certificate: Certificate, version: str, now_ms: int) -> str:
    if certificate.expires_at - now_ms < config.days_left * DAY_MS or certificate.expires_at < now_ms:
        expected = "" if certificate.expires_at < now_ms else f", expected at least {config.days_left}"
        ends = "has expired" if certificate.expires_at < now_ms else "expires soon"
        return f"certificate of {config.host} {ends}: {certificate.describe(now_ms)}{expected}"
    # versions compare as text: 1.0 to 1.3
    if version < config.minimum_version:
        return f"{config.host} speaks TLS {version}, expected at least {config.minimum_version}"
    return ""
