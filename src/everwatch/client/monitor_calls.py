"""Monitors, as the client asks for them."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from everwatch.api.bodies import (
    MonitorMaintenanceBody,
    MonitorPauseBody,
)
from everwatch.api.queries import (
    AllMonitorsQuery,
    FacetsQuery,
    LatencyQuery,
    NextQuery,
    TimelineQuery,
    TimelinesQuery,
)
from everwatch.api.state_views import (
    ExplanationView,
    FacetsView,
    LatencyView,
    TimelinesView,
    TimelineView,
    TrialView,
    ValidationView,
)
from everwatch.api.views import (
    MonitorView,
    OutcomeView,
    RunView,
)
from everwatch.client.api_calls import ApiCalls, CommandAbout, decoded, monitor_place
from everwatch.client.requests import MERGE_PATCH, ApiRequest, if_version, read
from everwatch.encoding.input_models import MonitorInput

EVERY_MONITOR = AllMonitorsQuery()
LAST_DAY = TimelineQuery()
FIRST_TIMELINES = TimelinesQuery()
LAST_HOURS = LatencyQuery()
EVERY_FACET = FacetsQuery()
AnyMonitor = MonitorInput | Mapping[str, Any]


class MonitorCalls(ApiCalls):
    """Monitors."""

    def monitors(self, query: AllMonitorsQuery = EVERY_MONITOR) -> AsyncIterator[MonitorView]:
        """Iterate monitors of all users, or of ``query.user``."""
        return self._iterate("/v1/monitors", query, MonitorView, query.user)

    async def monitor(self, user_id: str, monitor_id: str) -> MonitorView:
        """Return a monitor."""
        return await self.get(monitor_place(user_id, monitor_id), MonitorView, user_id=user_id)

    async def put_monitor(
        self,
        user_id: str,
        monitor_id: str,
        monitor: AnyMonitor,
        version: int | None = 0,
        *,
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Put a monitor. ``version``: that it must be at; 0: only create it, None: whatever it is at."""
        return await self._command(
            "PUT",
            monitor_place(user_id, monitor_id),
            CommandAbout("put", user_id, monitor_id),
            body=monitor,
            precondition=if_version(version),
            command_id=command_id,
            wait_s=wait_s,
        )

    async def change_monitor(
        self,
        user_id: str,
        monitor_id: str,
        patch: Mapping[str, Any],
        version: int | None = None,
        *,
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Change fields of a monitor by a JSON merge patch (RFC 7396); ``version`` None: whatever it is at."""
        return await self._command(
            "PATCH",
            monitor_place(user_id, monitor_id),
            CommandAbout("put", user_id, monitor_id),
            body=patch,
            media_type=MERGE_PATCH,
            precondition=if_version(version),
            command_id=command_id,
            wait_s=wait_s,
        )

    async def delete_monitor(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Delete a monitor; its results stay."""
        path = monitor_place(user_id, monitor_id)
        return await self._command(
            "DELETE", path, CommandAbout("delete", user_id, monitor_id), command_id=command_id, wait_s=wait_s
        )

    async def pause_monitor(
        self,
        user_id: str,
        monitor_id: str,
        until: int | str | None = None,
        *,
        reason: str = "",
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Pause a monitor; ``until``: ms or ISO 8601; ``reason``: for people, its state shows it."""
        path, body = monitor_place(user_id, monitor_id, "pause"), MonitorPauseBody(until, reason)
        return await self._command(
            "POST", path, CommandAbout("pause", user_id, monitor_id), body=body, command_id=command_id, wait_s=wait_s
        )

    async def resume_monitor(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Resume a monitor."""
        path = monitor_place(user_id, monitor_id, "resume")
        return await self._command(
            "POST", path, CommandAbout("resume", user_id, monitor_id), command_id=command_id, wait_s=wait_s
        )

    async def maintain_monitor(
        self,
        user_id: str,
        monitor_id: str,
        until: int | str | None,
        *,
        reason: str = "",
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Put a monitor into maintenance until an instant (ms or ISO 8601), or end it (None)."""
        path = monitor_place(user_id, monitor_id, "maintenance")
        body = None if until is None else MonitorMaintenanceBody(until, reason)
        method = "DELETE" if until is None else "POST"
        return await self._command(
            method, path, CommandAbout("maintain", user_id, monitor_id), body=body, command_id=command_id, wait_s=wait_s
        )

    async def run_monitor(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Run a monitor once, beside its schedule."""
        path = monitor_place(user_id, monitor_id, "run")
        return await self._command(
            "POST", path, CommandAbout("run_now", user_id, monitor_id), command_id=command_id, wait_s=wait_s
        )

    async def next_runs(self, user_id: str, monitor_id: str, limit: int = NextQuery().limit) -> list[int]:
        """Return the next instants (ms) at which a monitor is due."""
        path = monitor_place(user_id, monitor_id, "next")
        return (await self.get(path, RunView, user_id=user_id, limit=limit)).next_runs

    async def explain(self, user_id: str, monitor_id: str) -> ExplanationView:
        """Return why a monitor is in its state, when it runs next, and which processes look after it."""
        return await self.get(monitor_place(user_id, monitor_id, "explain"), ExplanationView, user_id=user_id)

    async def timeline(self, user_id: str, monitor_id: str, query: TimelineQuery = LAST_DAY) -> TimelineView:
        """Return for how long a monitor was in which state, and its availability."""
        sent = read(monitor_place(user_id, monitor_id, "timeline"), query, user_id=user_id)
        return decoded(await self._transport.send(sent), TimelineView)

    async def timelines(self, query: TimelinesQuery = FIRST_TIMELINES) -> TimelinesView:
        """Return which states the monitors of one page of a list were in."""
        sent = read("/v1/timelines", query, user_id=query.user)
        return decoded(await self._transport.send(sent), TimelinesView)

    async def latency(self, user_id: str, monitor_id: str, query: LatencyQuery = LAST_HOURS) -> LatencyView:
        """Return durations and counts of a monitor by hour or day."""
        sent = read(monitor_place(user_id, monitor_id, "latency"), query, user_id=user_id)
        return decoded(await self._transport.send(sent), LatencyView)

    async def validate_monitor(self, monitor: AnyMonitor) -> ValidationView:
        """Return whether a monitor would be admitted, and why not; nothing is stored."""
        sent = ApiRequest(
            method="POST", path="/v1/monitors/validate", body=msgspec.json.encode(monitor), is_repeatable=True
        )
        return decoded(await self._transport.send(sent), ValidationView)

    async def try_monitor(self, monitor: AnyMonitor) -> TrialView:
        """Run a monitor once, on an executor, and return what it found; nothing is stored."""
        sent = ApiRequest(method="POST", path="/v1/monitors/try", body=msgspec.json.encode(monitor), takes_s=35.0)
        return decoded(await self._transport.send(sent), TrialView)

    async def try_change(self, user_id: str, monitor_id: str, patch: Mapping[str, Any]) -> TrialView:
        """Run a monitor once as a JSON merge patch (RFC 7396) would make it; nothing is changed or stored."""
        sent = ApiRequest(
            method="POST",
            path=monitor_place(user_id, monitor_id, "try"),
            user_id=user_id,
            body=msgspec.json.encode(patch),
            media_type=MERGE_PATCH,
            takes_s=35.0,
        )
        return decoded(await self._transport.send(sent), TrialView)

    async def facets(self, query: FacetsQuery = EVERY_FACET) -> FacetsView:
        """Return how many monitors there are of each state, kind and plan, under the filters of a list."""
        sent = read("/v1/monitors/facets", query, user_id=query.user)
        return decoded(await self._transport.send(sent), FacetsView)
