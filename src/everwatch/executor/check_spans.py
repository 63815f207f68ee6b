"""Spans of checks: one trace for each tick, one span for each attempt at it."""

from everwatch.kafka.outbox import Headers
from everwatch.kinds.execution.failure_classes import failure_class
from everwatch.model import Outcome, Status, Tick
from everwatch.tracing.ids import span_id_of, trace_id_of
from everwatch.tracing.tracer import Span, Tracer


def record_check(tracer: Tracer, tick: Tick, outcome: Outcome, started_at: int, duration_ms: float) -> Headers:
    """Record a check that has ended (``started_at``: ms); return the header of its result (W3C Trace Context)."""
    trace, span = trace_id_of(tick), span_id_of(tick)
    failed = outcome.status is Status.FAILURE
    attributes: dict[str, str | int] = {
        "everwatch.user_id": tick.user_id,
        "everwatch.monitor_id": tick.monitor_id,
        "everwatch.kind": tick.kind,
        "everwatch.partition": tick.partition,
        "everwatch.scheduled_at": tick.scheduled_at,
        "everwatch.attempt": tick.attempt,
        "everwatch.status": outcome.status.value,
        "everwatch.start_delay_ms": max(0, started_at - tick.scheduled_at),
    }
    if failed:
        attributes["error.type"] = failure_class(outcome.reason)
    is_sampled = tracer.record(
        Span(
            f"check {tick.kind}",
            trace,
            span,
            started_at,
            started_at + duration_ms,
            attributes,
            error=outcome.reason if failed else "",
        )
    )
    return [("traceparent", f"00-{trace:032x}-{span:016x}-{int(is_sampled):02x}".encode())]
