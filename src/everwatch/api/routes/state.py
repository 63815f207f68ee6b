"""Routes of the system's state: overview, diagnosis, audit log, and a monitor explained."""

from everwatch.api.auditing import Auditing
from everwatch.api.diagnosing import Diagnosing
from everwatch.api.explaining import Explaining
from everwatch.api.overview import Overview
from everwatch.api.overview_views import OverviewView
from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.queries import AuditQuery
from everwatch.api.routes.parts import MONITOR, READ_MONITOR, READ_WHOLE
from everwatch.api.routing import Example, Route
from everwatch.api.services import Services
from everwatch.api.state_views import DiagnosisView, ExplanationView
from everwatch.api.views import Page
from everwatch.model import AuditEntry


def state_routes(services: Services) -> list[Route]:
    """Return the routes of the system's state: overview, diagnosis, audit log, and a monitor explained."""
    return [
        Route(
            method="GET",
            path="/v1/overview",
            permission=READ_WHOLE,
            handler=Overview(services.database, services.clock).overview,
            summary="Show the system at a glance: counts, the newest results, the last hour's transitions.",
            answers={200: Example(OverviewView, "The overview, at most 1 s old.")},
        ),
        Route(
            method="GET",
            path="/v1/diagnosis",
            permission=READ_WHOLE,
            handler=Diagnosing(services.diagnose, services.clock).diagnosis,
            summary="Show what is wrong with the system, and what to do about it.",
            answers={200: Example(DiagnosisView, "The newest checks.")},
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/explain",
            permission=READ_MONITOR,
            handler=Explaining(services.database, services.owners, services.clock).explain,
            summary="Say why a monitor is in its state, when it runs next, and which processes look after it.",
            answers={200: Example(ExplanationView, "The explanation.")},
        ),
        Route(
            method="GET",
            path="/v1/audit",
            permission=Permission(Scope.AUDIT, Reach.WHOLE),
            handler=Auditing(services.database).list,
            summary="List who changed what over HTTP, the latest first.",
            query=AuditQuery,
            answers={200: Example(Page[AuditEntry], "A page of changes, carried out or refused.")},
        ),
    ]
