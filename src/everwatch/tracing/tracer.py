"""Spans to OpenTelemetry by OTLP over HTTP, set up by the standard variables (``OTEL_…``).

Imports OpenTelemetry only where traces are wanted; it is in the extra ``everwatch[otel]``.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from everwatch.core.config import open_telemetry
from everwatch.processes.otlp import LAST_WITHIN_S, is_installed, resource_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_MS = 1_000_000


class Span(NamedTuple):
    """A span that ended. ``parent``: the span that it belongs to, 0 if none; instants in ms; ``error``: "" if none."""

    name: str
    trace: int
    span: int
    began_at: float
    ended_at: float
    attributes: Mapping[str, str | int]
    parent: int = 0
    error: str = ""


class Tracer:
    """Records spans whose ids are given. On the event loop only."""

    def __init__(self, provider: "TracerProvider", ids: "_Ids") -> None:
        self._ids = ids
        self._sampler = provider.sampler
        self._tracer = provider.get_tracer("everwatch")

    def is_sampled(self, trace: int) -> bool:
        """Tell whether the sampler takes this trace: every process with the same sampler says the same."""
        return bool(self._sampler.should_sample(None, trace, "tick").decision.is_sampled())  # type: ignore[no-untyped-call]

    def record(self, span: Span) -> bool:
        """Record a span, and return whether it is sampled."""
        from opentelemetry.context import Context
        from opentelemetry.trace import (
            NonRecordingSpan,
            SpanContext,
            SpanKind,
            StatusCode,
            TraceFlags,
            set_span_in_context,
        )

        if not self.is_sampled(span.trace):
            return False
        self._ids.trace, self._ids.span = span.trace, span.span
        context = Context()
        if span.parent:
            parent = SpanContext(span.trace, span.parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(parent), context)
        attributes = dict(span.attributes)
        began = self._tracer.start_span(
            span.name, context, SpanKind.CONSUMER, attributes, start_time=round(span.began_at * _MS)
        )
        if span.error:
            began.set_status(StatusCode.ERROR, span.error)
        began.end(round(span.ended_at * _MS))
        return True


@asynccontextmanager
async def open_tracer(
    process: str, instance: str, *, last_within_s: float = LAST_WITHIN_S
) -> AsyncIterator[Tracer | None]:
    """Give a tracer, if the environment wants one; what it records is sent by a thread of its own.

    The last spans are waited for, for ``last_within_s`` at most.
    """
    if not open_telemetry().traces or not is_installed():
        yield None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ids = _Ids()
    generator: Any = ids  # its base class is imported only where it is wanted
    provider = TracerProvider(resource=resource_of(process, instance), id_generator=generator, shutdown_on_exit=False)
    # its queue is bounded; spans that a collector does not take are dropped
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield Tracer(provider, ids)
    finally:
        # a collector that is unavailable keeps no process from its end
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(provider.shutdown))], timeout=last_within_s)


class _Ids:
    """OpenTelemetry's generator of ids: gives those of the span that is recorded."""

    trace = span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span

    def is_trace_id_random(self) -> bool:
        """A hash is as good, for samplers by ratio."""
        return True
