"""The kind ``tcp``: does a port accept connections?"""

import re
from typing import Annotated, Literal

import aiohappyeyeballs
import msgspec

from everwatch.errors import TargetForbidden
from everwatch.kinds.guard import Guard
from everwatch.kinds.protocol import FieldError, RunContext
from everwatch.kinds.reasons import explain_connection_error
from everwatch.kinds.resolving import AddressInfo
from everwatch.model import Outcome, Status

_NOT_IN_HOST = re.compile(r"[\s\x00-\x1f\x7f/@?#\[\]]")
# RFC 8305: so long one address gets before the next is tried beside it
_HEAD_START_S = 0.25

Host = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class TcpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``host`` is a name or an IP address (IPv6 without brackets)."""

    host: Host
    port: Port

    def __post_init__(self) -> None:
        if _NOT_IN_HOST.search(self.host):
            raise FieldError("host", f"{self.host!r} is not a host name or an IP address")


class TcpKind:
    """Connects and closes. Timings: dns, connect, total, in ms."""

    name = "tcp"
    config_type = TcpConfig
    default_schedule_ms = 60_000

    @property
    def inline(self) -> Literal[False]:
        return False

    async def run(self, config: TcpConfig, context: RunContext) -> Outcome:
        """Resolve once, then connect to addresses that the guard has seen, and to no others."""
        clock = context.clock
        began_s = clock.monotonic_s()
        timings: dict[str, float] = {}
        try:
            found = await context.resolver.addresses(config.host, config.port)
            resolved_s = clock.monotonic_s()
            timings["dns"] = _ms(resolved_s - began_s)
            connection = await aiohappyeyeballs.start_connection(
                _checked(found, context.guard), happy_eyeballs_delay=_HEAD_START_S
            )
            timings["connect"] = _ms(clock.monotonic_s() - resolved_s)
            connection.close()
            reason = ""
        except OSError as error:
            reason = explain_connection_error(error, config.host, config.port)
        timings["total"] = _ms(clock.monotonic_s() - began_s)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings)


def _checked(found: list[AddressInfo], guard: Guard) -> list[AddressInfo]:
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


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
