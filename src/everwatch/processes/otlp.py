"""Metrics to OpenTelemetry by OTLP over HTTP, set up by the standard variables (``OTEL_…``).

It sends what Prometheus would scrape: names lose the suffix ``_total``, and units are those of the names. Imports
OpenTelemetry only where it is wanted; it is in the extra ``everwatch[otel]``.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from everwatch import __version__
from everwatch.core.clock import Clock
from everwatch.core.config import open_telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData
    from opentelemetry.sdk.resources import Resource

logger = logging.getLogger(__name__)
LAST_WITHIN_S = 1.0
_UNITS = {"seconds": "s", "bytes": "By"}


def is_installed() -> bool:
    """Tell whether OpenTelemetry can be used; logs what to do if not."""
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError:
        logger.warning(
            "OTEL_EXPORTER_OTLP_… is set, and OpenTelemetry is not installed: nothing is exported. Run"
            " pip install 'everwatch[otel]', or set OTEL_SDK_DISABLED=true."
        )
        return False
    return True


def resource_of(process: str, instance: str) -> "Resource":
    """Return the attributes that identify this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours: dict[str, Any] = {
        "service.name": f"everwatch-{process}",
        "service.instance.id": instance,
        "service.version": __version__,
    }
    return Resource.create(ours | dict(OTELResourceDetector().detect().attributes))


@contextmanager
def exporting_metrics(
    process: str,
    instance: str,
    clock: Clock,
    registry: CollectorRegistry = REGISTRY,
    *,
    last_within_s: float = LAST_WITHIN_S,
) -> Iterator[None]:
    """Export the metrics of this process while the context lasts, if the environment wants it.

    The last export is waited for, for ``last_within_s`` at most.
    """
    wanted = open_telemetry()
    if not wanted.metrics or not is_installed():
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    export = _Export(OTLPMetricExporter(), resource_of(process, instance), clock, registry)
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(wanted.metrics_every_s):
            export.run()
        export.run()

    # a collector that is unavailable keeps no process from its end
    thread = threading.Thread(target=repeat, name="otlp", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(last_within_s)


class _Export:
    """Sends what the registry holds now. Its errors are the exporter's to log."""

    def __init__(
        self, exporter: "MetricExporter", resource: "Resource", clock: Clock, registry: CollectorRegistry
    ) -> None:
        self._exporter = exporter
        self._resource = resource
        self._clock = clock
        self._registry = registry
        self._began_ns = clock.now_ms() * 1_000_000

    def run(self) -> None:
        try:
            self._exporter.export(self._data())
        except Exception:
            logger.exception("metrics could not be exported to OpenTelemetry")

    def _data(self) -> "MetricsData":
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        now_ns = self._clock.now_ms() * 1_000_000
        families = [
            converted
            for family in self._registry.collect()
            if (converted := _converted(family, self._began_ns, now_ns)) is not None
        ]
        scope = ScopeMetrics(InstrumentationScope("everwatch", __version__), families, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _converted(family: Metric, began_ns: int, now_ns: int) -> Any:
    """A family of Prometheus as a metric of OpenTelemetry; None without samples."""
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        NumberDataPoint,
        Sum,
    )
    from opentelemetry.sdk.metrics.export import Metric as ExportedMetric

    cumulative = AggregationTemporality.CUMULATIVE
    data: Gauge | Histogram | Sum
    if family.type == "histogram":
        data = Histogram(list(_distributions(family.samples, began_ns, now_ns)), cumulative)
    else:
        points = [NumberDataPoint(each.labels, began_ns, now_ns, each.value) for each in family.samples]
        data = Sum(points, cumulative, is_monotonic=True) if family.type == "counter" else Gauge(points)
    if not data.data_points:
        return None
    unit = _UNITS.get(family.name.rpartition("_")[2], "1")
    return ExportedMetric(family.name, family.documentation, unit, data)


def _distributions(samples: list[Sample], began_ns: int, now_ns: int) -> Iterator[Any]:
    """The series of a histogram: Prometheus' buckets hold all below, those of OpenTelemetry each its own."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    def series(sample: Sample) -> list[tuple[str, str]]:
        return sorted((name, value) for name, value in sample.labels.items() if name != "le")

    for labels, found in groupby(sorted(samples, key=series), key=series):
        of_series = list(found)
        buckets = [each for each in of_series if each.name.endswith("_bucket")]
        below = [0, *(int(each.value) for each in buckets)]
        total = next(each.value for each in of_series if each.name.endswith("_sum"))
        yield HistogramDataPoint(
            dict(labels),
            began_ns,
            now_ns,
            below[-1],
            total,
            [upper - lower for lower, upper in pairwise(below)],
            [float(each.labels["le"]) for each in buckets[:-1]],
            0.0,
            0.0,
        )
