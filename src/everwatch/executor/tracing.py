"""Traces of checks: one trace for each tick, one span for each attempt at it.

Ids are derived from what a tick is, so whoever knows that knows its trace: a repeated check is the same span, and no id
has to travel with the tick. Imports OpenTelemetry only where traces are wanted.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from everwatch.core.config import open_telemetry
from everwatch.kinds.failure_classes import failure_class
from everwatch.model import Outcome, Status, Tick
from everwatch.processes.otlp import is_installed, resource_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_LAST_WITHIN_S = 1.0
_MS = 1_000_000


class Attempted(Protocol):
    """A tick or a result: what tells an attempt apart."""

    @property
    def user_id(self) -> str: ...
    @property
    def monitor_id(self) -> str: ...
    @property
    def scheduled_at(self) -> int: ...
    @property
    def attempt(self) -> int: ...


def trace_id_of(tick: Attempted) -> int:
    """Return the trace of a tick: BLAKE2b-128 of ``user_id NUL monitor_id NUL scheduled_at`` (ms, in digits)."""
    return _hash(f"{tick.user_id}\0{tick.monitor_id}\0{tick.scheduled_at}", 16)


def span_id_of(tick: Attempted) -> int:
    """Return the span of an attempt: BLAKE2b-64 of the same and ``NUL attempt``."""
    return _hash(f"{tick.user_id}\0{tick.monitor_id}\0{tick.scheduled_at}\0{tick.attempt}", 8)


def _hash(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest(), "big")


class Tracing:
    """Records a span for each check, with ids of our own. On the event loop only."""

    def __init__(self, provider: "TracerProvider", ids: "_Ids") -> None:
        self._ids = ids
        self._tracer = provider.get_tracer("everwatch.executor")

    def record(self, tick: Tick, outcome: Outcome, started_at: int, duration_ms: float) -> list[tuple[str, bytes]]:
        """Record a check that has ended (``started_at``: ms); return the header of its result (W3C Trace Context)."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, StatusCode

        self._ids.trace, self._ids.span = trace_id_of(tick), span_id_of(tick)
        span = self._tracer.start_span(
            f"check {tick.kind}",
            Context(),
            SpanKind.CLIENT,
            _attributes(tick, outcome, started_at),
            None,
            started_at * _MS,
        )
        if outcome.status is Status.FAILURE:
            span.set_status(StatusCode.ERROR, outcome.reason)
        span.end(round((started_at + duration_ms) * _MS))
        flags = span.get_span_context().trace_flags
        return [("traceparent", f"00-{self._ids.trace:032x}-{self._ids.span:016x}-{flags:02x}".encode())]


def _attributes(tick: Tick, outcome: Outcome, started_at: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "everwatch.user_id": tick.user_id,
        "everwatch.monitor_id": tick.monitor_id,
        "everwatch.kind": tick.kind,
        "everwatch.partition": tick.partition,
        "everwatch.scheduled_at": tick.scheduled_at,
        "everwatch.attempt": tick.attempt,
        "everwatch.status": outcome.status.value,
        "everwatch.start_delay_ms": max(0, started_at - tick.scheduled_at),
    }
    if outcome.status is Status.FAILURE:
        found["error.type"] = failure_class(outcome.reason)
    return found


@asynccontextmanager
async def open_tracing(process: str, instance: str) -> AsyncIterator[Tracing | None]:
    """Give what records traces, if the environment wants it; what is recorded is sent by a thread of its own."""
    if not open_telemetry().traces or not is_installed():
        yield None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ids = _Ids()
    generator: Any = ids  # its base class is imported only where it is wanted
    provider = TracerProvider(resource=resource_of(process, instance), id_generator=generator, shutdown_on_exit=False)
    # its queue is bounded; what a collector does not take is dropped
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield Tracing(provider, ids)
    finally:
        # a collector that is away keeps no process from its end
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(provider.shutdown))], timeout=_LAST_WITHIN_S)


class _Ids:
    """OpenTelemetry's generator of ids: gives those of the tick that is recorded."""

    trace = span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span

    def is_trace_id_random(self) -> bool:
        """A hash is as good, for samplers by ratio."""
        return True
