"""Spans of results on their way into the database: each is a step of its tick's trace."""

from collections.abc import Iterable

from everwatch.model import Result
from everwatch.store import Received
from everwatch.tracing.ids import span_id_of, trace_id_of
from everwatch.tracing.tracer import Span, Tracer


def record_stored(tracer: Tracer, results: Iterable[Received[Result]], began_at: int, ended_at: int) -> None:
    """Record that these results are stored; their batch began and ended at these instants, ms."""
    for received in results:
        result, trace = received.value, trace_id_of(received.value)
        if tracer.is_sampled(trace):
            attributes: dict[str, str | int] = {
                "everwatch.partition": received.source.number,
                "everwatch.offset": received.offset,
                "everwatch.delay_ms": max(0, ended_at - result.scheduled_at),
            }
            span, parent = span_id_of(result, "store"), span_id_of(result)
            tracer.record(Span("store result", trace, span, began_at, ended_at, attributes, parent))
