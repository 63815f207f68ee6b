"""Metrics and traces to OpenTelemetry: what a collector receives."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from support.executing import AT, TOPICS, Executor, FakeOutbox

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import Settings, open_telemetry
from everwatch.core.errors import SettingsError
from everwatch.executor.result_sender import ResultSender
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Result, Status, Tick
from everwatch.network.guard import Guard
from everwatch.processes.otlp import exporting_metrics
from everwatch.sink.store_spans import record_stored
from everwatch.store import Partition, Received
from everwatch.tracing.ids import span_id_of, trace_id_of
from everwatch.tracing.tracer import open_tracer


class Collector:
    """An OTLP collector over HTTP that keeps what it is sent, by path."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.received.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def spans(self) -> list[Any]:
        requests = map(ExportTraceServiceRequest.FromString, self.received.get("/v1/traces", []))
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


# on a busy machine an end takes longer
LAST_WITHIN_S = 60.0


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    running = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{running.server.server_port}")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_metrics_arrive_with_their_types_units_and_the_process_that_they_are_of(collector: Collector) -> None:
    registry = CollectorRegistry()
    Counter("everwatch_checks", "Checks.", ["kind"], registry=registry).labels("http").inc(3)
    Gauge("everwatch_disk_bytes", "Disk.", registry=registry).set(7)
    durations = Histogram("everwatch_check_seconds", "Seconds.", buckets=(1, 2), registry=registry)
    for duration in (0.5, 1.5, 9):
        durations.observe(duration)
    with exporting_metrics("executor", "here-1", SystemClock(), registry, last_within_s=LAST_WITHIN_S):
        pass
    [request] = map(ExportMetricsServiceRequest.FromString, collector.received["/v1/metrics"])
    [resource] = request.resource_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (about["service.name"], about["service.instance.id"]) == ("everwatch-executor", "here-1")
    assert about["deployment.environment"] == "test"
    sent = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
    [checks] = sent["everwatch_checks"].sum.data_points
    assert (checks.as_double, checks.attributes[0].value.string_value) == (3, "http")
    assert sent["everwatch_checks"].sum.is_monotonic
    [disk] = sent["everwatch_disk_bytes"].gauge.data_points
    assert (disk.as_double, sent["everwatch_disk_bytes"].unit) == (7, "By")
    [seconds] = sent["everwatch_check_seconds"].histogram.data_points
    assert (list(seconds.bucket_counts), list(seconds.explicit_bounds)) == ([1, 1, 1], [1, 2])
    assert (seconds.count, seconds.sum, sent["everwatch_check_seconds"].unit) == (3, 11, "s")


async def test_a_check_is_a_span_whose_ids_are_those_of_its_tick_and_stand_in_its_result(collector: Collector) -> None:
    async with (
        open_run_context(SystemClock(), Guard()) as context,
        open_tracer("executor", "here-1", last_within_s=LAST_WITHIN_S) as tracer,
    ):
        executor = Executor(context, max_in_flight=3, tracer=tracer)
        # a name that no kind has fails at once
        executor.take("x", "y", monitor_id="shop", kind="no-such-kind")
        executor.take("x", monitor_id="site", kind="no-such-kind", at=AT + 1)
        await executor.outbox.holds(3)
        await executor.checks.drain(0)
    spans = collector.spans()
    sent = [record for record in executor.outbox.sent if record["topic"] == TOPICS.results and record["headers"]]
    assert len(sent) == len(spans) >= 2
    for record, span in zip(sent, spans, strict=True):
        [(name, value)] = record["headers"]
        version, trace, identity, flags = value.decode().split("-")
        assert (name, version, int(flags, 16) & 1) == ("traceparent", "00", 1)
        assert (bytes.fromhex(trace), bytes.fromhex(identity)) == (span.trace_id, span.span_id)
        assert span.name == "check no-such-kind"
        assert span.status.message == executor.outbox.results[0].reason
    tick = Tick("user", "site", AT + 1, "no-such-kind", "", 1, 1, 3)
    assert trace_id_of(tick).to_bytes(16, "big") in {span.trace_id for span in spans}


async def test_storing_a_result_is_a_child_of_its_check_and_what_is_not_sampled_is_left_out(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [
        Received(
            Partition("results", 3),
            offset,
            1,
            Result("anna", f"m-{offset}", AT, "noop", 1, Status.SUCCESS, "", AT, 1.0),
        )
        for offset in range(20)
    ]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    async with open_tracer("sink", "here-1", last_within_s=LAST_WITHIN_S) as tracer:
        record_stored(tracer, results, AT + 1_000, AT + 2_000)
        sampled = {received.offset for received in results if tracer.is_sampled(trace_id_of(received.value))}
    assert 0 < len(sampled) < len(results)
    spans = {span.attributes[1].value.int_value: span for span in collector.spans()}
    assert set(spans) == sampled
    for offset, span in spans.items():
        result = results[offset].value
        assert span.trace_id == trace_id_of(result).to_bytes(16, "big")
        assert span.parent_span_id == span_id_of(result).to_bytes(8, "big")
        assert span.end_time_unix_nano - span.start_time_unix_nano == 1_000_000_000


async def test_log_lines_about_a_check_name_its_trace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = Tick("anna", "shop", AT, "http", "", 1, 1, 3)
    sender = ResultSender(Settings(), FakeOutbox(), SystemClock(), "executor-1")
    sender.report_fault(tick, ValueError("odd"))
    [line] = caplog.records
    assert vars(line)["trace.id"] == f"{trace_id_of(tick):032x}"
    assert vars(line)["span.id"] == f"{span_id_of(tick):016x}"


def test_ids_are_those_that_the_docs_tell_how_to_derive() -> None:
    tick = Tick("anna", "shop", 1_700_000_000_000, "http", "", 1, 1, 3, attempt=2)
    # python -c "import hashlib; print(hashlib.blake2b(b'anna\0shop\0001700000000000', digest_size=16).hexdigest())"
    assert f"{trace_id_of(tick):032x}" == "59e6f60f77083fe4d6aca717cce44c5e"
    assert f"{span_id_of(tick):016x}" == "81ca824fe50508ab"


async def test_without_an_endpoint_nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert open_telemetry()[:2] == (False, False)
    async with open_tracer("executor", "here-1") as tracer:
        assert tracer is None


@pytest.mark.parametrize(
    ("name", "value", "exported"),
    [
        ("OTEL_SDK_DISABLED", "true", (False, False)),
        ("OTEL_TRACES_EXPORTER", "none", (True, False)),
        ("OTEL_METRICS_EXPORTER", "none", (False, True)),
    ],
)
def test_the_standard_variables_switch_it_off(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, exported: tuple[bool, bool]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv(name, value)
    assert open_telemetry()[:2] == exported


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_METRIC_EXPORT_INTERVAL", "1m"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]
)
def test_what_cannot_be_done_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        open_telemetry()


def test_where_it_is_not_installed_a_process_says_so_and_runs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http", None)
    with exporting_metrics("sink", "here-1", SettableClock()):
        pass
    assert "pip install 'everwatch[otel]'" in caplog.text
    assert collector.received == {}
