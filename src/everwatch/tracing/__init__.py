"""Traces of ticks: their ids, and the tracer that sends spans to OpenTelemetry."""
