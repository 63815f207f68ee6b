"""Routes of monitors, as they are set."""

from typing import Any

from everwatch.api.bodies import MonitorMaintenanceBody, MonitorPauseBody
from everwatch.api.facets import Facets
from everwatch.api.monitors import Monitors
from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.queries import AllMonitorsQuery, FacetsQuery, MonitorsQuery, NextQuery
from everwatch.api.routes.parts import (
    CREATED,
    DONE,
    ENDED,
    MONITOR,
    MONITORS,
    READ_LIST,
    READ_MONITOR,
    READ_MONITORS,
    RUN_MONITOR,
    WRITE_USER,
)
from everwatch.api.routing import Example, Route
from everwatch.api.state_views import FacetsView, TrialView, ValidationView
from everwatch.api.trying import Trying
from everwatch.api.validating import Validating
from everwatch.api.views import MonitorView, Page, RunView, SpecChangesView
from everwatch.encoding.input_models import MonitorInput

_FOUND = {200: Example(TrialView, "What the check found.")}


def monitor_routes(monitors: Monitors, facets: Facets, validating: Validating, trying: Trying) -> list[Route]:
    """Return the routes of monitors, as they are set."""
    page = {200: Example(Page[MonitorView], "A page of monitors, by user and id.")}
    return [
        Route(
            method="GET",
            path="/v1/monitors",
            permission=READ_MONITORS,
            handler=monitors.list,
            summary="List monitors of all users.",
            query=AllMonitorsQuery,
            answers=page,
        ),
        Route(
            method="POST",
            path="/v1/monitors/validate",
            permission=READ_LIST,
            handler=validating.validate,
            summary="Say whether a monitor would be admitted, and why not; nothing is stored.",
            body=MonitorInput,
            answers={200: Example(ValidationView, "The monitor as it would be stored, or what is wrong with it.")},
        ),
        Route(
            method="POST",
            path="/v1/monitors/try",
            permission=Permission(Scope.RUN, Reach.NARROWED),
            handler=trying.new,
            summary="Run a monitor once, on an executor, and say what it found; nothing is stored.",
            audited="try",
            body=MonitorInput,
            answers=_FOUND,
            refusals=(409,),
            is_patient=True,
        ),
        Route(
            method="GET",
            path="/v1/monitors/facets",
            permission=READ_MONITORS,
            handler=facets.facets,
            summary="Count monitors by state, kind and plan, each under what the other filters say.",
            query=FacetsQuery,
            answers={200: Example(FacetsView, "The counts.")},
        ),
        Route(
            method="GET",
            path=MONITORS,
            permission=READ_MONITOR,
            handler=monitors.list_of_user,
            summary="List a user's monitors.",
            query=MonitorsQuery,
            answers=page,
        ),
        Route(
            method="GET",
            path=MONITOR,
            permission=READ_MONITOR,
            handler=monitors.get,
            summary="Show a monitor.",
            answers={200: Example(MonitorView, "The monitor.")},
        ),
        Route(
            method="PUT",
            path=MONITOR,
            permission=WRITE_USER,
            handler=monitors.put,
            summary="Put a monitor, or with If-Match change the one that is there.",
            audited="put",
            body=MonitorInput,
            answers=CREATED,
            versioned=True,
            command=True,
        ),
        Route(
            method="PATCH",
            path=MONITOR,
            permission=WRITE_USER,
            handler=monitors.patch,
            summary="Change fields of a monitor by a JSON merge patch (RFC 7396).",
            audited="put",
            body=dict[str, Any],
            answers=DONE,
            accepts="application/merge-patch+json",
            versioned=True,
            command=True,
        ),
        Route(
            method="DELETE",
            path=MONITOR,
            permission=WRITE_USER,
            handler=monitors.delete,
            summary="Delete a monitor; its results stay.",
            audited="delete",
            answers=ENDED,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/pause",
            permission=RUN_MONITOR,
            handler=monitors.pause,
            summary="Pause a monitor.",
            audited="pause",
            body=MonitorPauseBody,
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/resume",
            permission=RUN_MONITOR,
            handler=monitors.resume,
            summary="Resume a monitor.",
            audited="resume",
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/maintenance",
            permission=RUN_MONITOR,
            handler=monitors.maintain,
            summary="Put a monitor into maintenance until an instant: checks go on, no alerts are sent.",
            audited="maintain",
            body=MonitorMaintenanceBody,
            answers=DONE,
            command=True,
        ),
        Route(
            method="DELETE",
            path=f"{MONITOR}/maintenance",
            permission=RUN_MONITOR,
            handler=monitors.end_maintenance,
            summary="End the maintenance of a monitor that was asked for; windows of its policy stay.",
            audited="maintain",
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/run",
            permission=RUN_MONITOR,
            handler=monitors.run,
            summary="Run a monitor once, beside its schedule.",
            audited="run_now",
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/try",
            permission=WRITE_USER,
            handler=trying.changed,
            summary="Run a monitor once as a JSON merge patch (RFC 7396) would make it; nothing is changed or stored.",
            audited="try",
            body=dict[str, Any],
            accepts="application/merge-patch+json",
            answers=_FOUND,
            refusals=(409,),
            is_patient=True,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/next",
            permission=READ_MONITOR,
            handler=monitors.next_runs,
            summary="Tell when a monitor is due next.",
            query=NextQuery,
            answers={200: Example(RunView, "The instants, the earliest first.")},
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/changes",
            permission=READ_MONITOR,
            handler=monitors.changes,
            summary="Say which fields of a monitor's specification changed, by signups and commands.",
            answers={200: Example(SpecChangesView, "The changes, the latest first.")},
        ),
    ]
