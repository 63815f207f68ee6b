"""Routes of processes, counts, plans, probes, metrics and the OpenAPI document."""

from typing import Any

from everwatch.api.inspecting import Inspecting
from everwatch.api.inspecting_views import DatabaseView, TopicsView
from everwatch.api.permissions import OPEN
from everwatch.api.routes.parts import READ_WHOLE
from everwatch.api.routing import Example, Route
from everwatch.api.state_views import CountsView, LagView, PartitionsView, PlansView, WorkersView
from everwatch.api.system import Installation, ProbeView


def system_routes(system: Installation, inspecting: Inspecting) -> list[Route]:
    """Return the routes of processes, counts, plans, probes, metrics and the OpenAPI document."""
    probe = {200: Example(ProbeView, "It is.")}
    return [
        Route(
            method="GET",
            path="/v1/lag",
            permission=READ_WHOLE,
            handler=system.lag,
            summary="Show how far processes are behind, by topic and group.",
            answers={200: Example(LagView, "The lag, at most 2 s old.")},
        ),
        Route(
            method="GET",
            path="/v1/partitions",
            permission=READ_WHOLE,
            handler=system.partitions,
            summary="Show how far processes are behind, by partition, and who owns it.",
            answers={200: Example(PartitionsView, "The lag, at most 2 s old.")},
        ),
        Route(
            method="GET",
            path="/v1/workers",
            permission=READ_WHOLE,
            handler=system.workers,
            summary="List workers, executors and sinks.",
            answers={200: Example(WorkersView, "The processes, at most 2 s old.")},
        ),
        Route(
            method="GET",
            path="/v1/counts",
            permission=READ_WHOLE,
            handler=system.counts,
            summary="Count monitors by state, kind and plan, and users by plan.",
            answers={200: Example(CountsView, "The counts.")},
        ),
        Route(
            method="GET",
            path="/v1/plans",
            permission=READ_WHOLE,
            handler=system.plans,
            summary="List plans.",
            answers={200: Example(PlansView, "The plans, by name.")},
        ),
        Route(
            method="GET",
            path="/v1/database",
            permission=READ_WHOLE,
            handler=inspecting.database,
            summary="Show size, rows and oldest row of each table, for how long rows are kept, and the next deletions.",
            answers={200: Example(DatabaseView, "The tables, at most a minute old.")},
        ),
        Route(
            method="GET",
            path="/v1/topics",
            permission=READ_WHOLE,
            handler=inspecting.topics,
            summary="Compare the topics with the settings.",
            answers={200: Example(TopicsView, "The topics, at most 5 s old.")},
        ),
        Route(
            method="GET",
            path="/healthz",
            permission=OPEN,
            handler=system.alive,
            summary="Tell whether the process is alive.",
            answers=probe,
        ),
        Route(
            method="GET",
            path="/readyz",
            permission=OPEN,
            handler=system.ready,
            summary="Tell whether the process can serve.",
            answers={**probe, 503: Example(ProbeView, "It cannot serve, and why.")},
        ),
        Route(
            method="GET",
            path="/metrics",
            permission=OPEN,
            handler=system.metrics,
            summary="Metrics for Prometheus.",
            answers={200: Example(str, "Prometheus' text format.")},
            media_type="text/plain",
        ),
        Route(
            method="GET",
            path="/openapi.json",
            permission=OPEN,
            handler=system.openapi,
            summary="This document.",
            answers={200: Example(dict[str, Any], "OpenAPI 3.1.")},
        ),
    ]
