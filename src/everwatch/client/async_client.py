"""The client for asyncio: one method for each thing that a program asks of the API.

All in one file: its methods are short and alike, and a program reads them as one list.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from everwatch.api.audit_run_views import AuditRunBody, AuditRunList, AuditRunView
from everwatch.api.bodies import (
    MaintenanceBody,
    MonitorPauseBody,
    PauseBody,
    RedriveBody,
    SignalBody,
    SignalsBody,
    TaskBody,
    UserBody,
    UserChange,
)
from everwatch.api.incident_views import (
    CommentBody,
    IncidentDetail,
    IncidentView,
    Listed,
    SelectorBody,
    SharedIncidentsView,
    SilenceBody,
    SilencePreview,
    SnoozeBody,
)
from everwatch.api.job_views import JobBody, JobErrorsView, JobItem, JobList, JobPreview, JobPreviewBody, JobView
from everwatch.api.notifier_views import (
    ChannelView,
    ContactTestBody,
    ContactView,
    DeliveriesQuery,
    DeliveryView,
    ReplayBody,
    ReplayView,
    VerifyBody,
)
from everwatch.api.queries import (
    AllMonitorsQuery,
    AllResultsQuery,
    AllTasksQuery,
    AllTransitionsQuery,
    AuditQuery,
    EventKind,
    FacetsQuery,
    LatencyQuery,
    LettersQuery,
    LiveQuery,
    NextQuery,
    Paged,
    TimelineQuery,
    TimelinesQuery,
    UsersQuery,
)
from everwatch.api.state_views import (
    CountsView,
    DiagnosisView,
    ExplanationView,
    FacetsView,
    LagView,
    LatencyView,
    LettersView,
    LetterView,
    PartitionsView,
    RedriveView,
    TimelinesView,
    TimelineView,
    TrialView,
    ValidationView,
    WorkersView,
)
from everwatch.api.views import (
    Accepted,
    LineOutcome,
    MonitorView,
    OutcomeView,
    Page,
    PingKeyView,
    ResultView,
    RunView,
    SpecChangesView,
    SpecChangeView,
    TaskView,
    UserView,
)
from everwatch.client.errors import UNREACHABLE, ApiError, unknown_answer
from everwatch.client.event_stream import EventParser, LiveEvent
from everwatch.client.requests import MERGE_PATCH, NDJSON, ApiRequest, command, if_version, place, read
from everwatch.client.retrying import pause_s
from everwatch.client.transport import PATIENCE_S, HttpAnswer, HttpTransport, Sleep
from everwatch.encoding.input_models import MaintenanceInput, MonitorInput
from everwatch.model import AuditEntry, CommandOutcome, Transition
from everwatch.notifier.comments import IncidentComment
from everwatch.notifier.listed_routes import ListedRoute
from everwatch.notifier.silences import AlertSilence, Selector

Value = TypeVar("Value")
WAIT_S = 5.0
PAGE = 500
"""Items of a page where all are iterated."""
EVERY_USER = UsersQuery()
PLAIN_USER = UserBody()
EVERY_MONITOR = AllMonitorsQuery()
LAST_DAY = TimelineQuery()
FIRST_TIMELINES = TimelinesQuery()
LAST_HOURS = LatencyQuery()
EVERY_TASK = AllTasksQuery()
EVERY_RESULT = AllResultsQuery()
EVERY_TRANSITION = AllTransitionsQuery()
EVERY_LETTER = LettersQuery()
EVERY_CHANGE = AuditQuery()
EVERY_DELIVERY = DeliveriesQuery()
EVERY_FACET = FacetsQuery()
AnyMonitor = MonitorInput | Mapping[str, Any]


class AsyncClient:
    """A client of the HTTP API at ``url``, for one event loop; an async context manager.

    Every method raises ApiError for what the API refuses or cannot serve. A request that may be repeated is, for up to
    ``patience_s``: reads, and commands, which the server carries out once for each ``command_id`` (each gets a new one
    unless it is given). Of lists ``limit`` is the size of a page; iterating goes through all pages.

    Writes wait up to ``wait_s`` (at most 30) for a worker. An OutcomeView whose ``answer`` is None is kept on Kafka and
    not carried out yet; ask ``outcome`` later. Reads see what this client has written before.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        wait_s: float = WAIT_S,
        patience_s: float = PATIENCE_S,
        after: str = "",
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``after``: ``position`` of another client, whose writes reads must see. Raises SettingsError."""
        self._transport = HttpTransport(url, token, patience_s=patience_s, after=after, sleep=sleep)
        self._wait_s = wait_s
        self._patience_s = patience_s
        self._sleep = sleep

    @property
    def position(self) -> str:
        """Position of the last write, for another client that is to see it."""
        return self._transport.positions.latest

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    # --- any request ----------------------------------------------------------------------------------------------

    async def get(self, path: str, kind: type[Value], /, *, user_id: str = "", **query: Any) -> Value:
        """Return what ``path`` (below the address, percent-encoded) answers, as ``kind``."""
        return _decoded(await self._transport.send(read(path, user_id=user_id, **query)), kind)

    async def page(self, path: str, query: Paged, kind: type[Value], *, user_id: str = "") -> Page[Value]:
        """Return one page of a list of ``kind``; ``next`` is the cursor of the page behind it."""
        answer = await self._transport.send(read(path, query, user_id=user_id))
        return _decoded(answer, Page[kind])  # type: ignore[valid-type]

    async def _iterate(self, path: str, query: Paged, kind: type[Value], user_id: str = "") -> AsyncIterator[Value]:
        if query.limit == Paged().limit:
            query = msgspec.structs.replace(query, limit=PAGE)
        while True:
            found = await self.page(path, query, kind, user_id=user_id)
            for each in found.items:
                yield each
            if not found.next:
                return
            query = msgspec.structs.replace(query, cursor=found.next)

    async def _command(
        self,
        method: str,
        path: str,
        what: str,
        user_id: str,
        monitor_id: str = "",
        *,
        body: Any = None,
        command_id: str = "",
        wait_s: float | None = None,
        **more: Any,
    ) -> OutcomeView:
        """Send a command; ``what`` it is, for an answer that does not say it."""
        command_id = command_id or uuid4().hex
        wait_s = self._wait_s if wait_s is None else wait_s
        sent = command(method, path, command_id, user_id=user_id, body=body, wait_s=wait_s, **more)
        answer = await self._transport.send(sent)
        if answer.status == 204:
            position = answer.headers.get("Everwatch-Position", "")
            return OutcomeView(command_id, what, user_id, monitor_id, CommandOutcome.DONE, position=position)
        return _decoded(answer, OutcomeView)

    # --- users ----------------------------------------------------------------------------------------------------

    def users(self, query: UsersQuery = EVERY_USER) -> AsyncIterator[UserView]:
        """Iterate users."""
        return self._iterate("/v1/users", query, UserView)

    async def user(self, user_id: str) -> UserView:
        """Return a user."""
        return await self.get(place("users", user_id), UserView, user_id=user_id)

    async def put_user(
        self, user_id: str, body: UserBody = PLAIN_USER, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Sign a user up, or state its registration anew."""
        path = place("users", user_id)
        return await self._command("PUT", path, "signup", user_id, body=body, command_id=command_id, wait_s=wait_s)

    async def change_user(
        self, user_id: str, change: UserChange, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Change a user's plan or attributes; all else stays."""
        path = place("users", user_id)
        return await self._command(
            "PATCH", path, "set_user", user_id, body=change, command_id=command_id, wait_s=wait_s
        )

    async def delete_user(self, user_id: str, *, command_id: str = "", wait_s: float | None = None) -> OutcomeView:
        """End a user with all monitors and pending tasks; results stay."""
        path = place("users", user_id)
        return await self._command("DELETE", path, "deregister", user_id, command_id=command_id, wait_s=wait_s)

    async def pause_user(
        self, user_id: str, until: int | str | None = None, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Pause all monitors of a user; ``until``: ms or ISO 8601."""
        path, body = place("users", user_id, "pause"), PauseBody(until)
        return await self._command("POST", path, "pause_user", user_id, body=body, command_id=command_id, wait_s=wait_s)

    async def resume_user(self, user_id: str, *, command_id: str = "", wait_s: float | None = None) -> OutcomeView:
        """Resume what a pause of the user paused."""
        path = place("users", user_id, "resume")
        return await self._command("POST", path, "resume_user", user_id, command_id=command_id, wait_s=wait_s)

    async def maintain_user(
        self,
        user_id: str,
        windows: Sequence[MaintenanceInput],
        *,
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Set a user's maintenance windows, in place of those there were."""
        path, body = place("users", user_id, "maintenance"), MaintenanceBody(list(windows))
        return await self._command("PUT", path, "maintain", user_id, body=body, command_id=command_id, wait_s=wait_s)

    # --- monitors -------------------------------------------------------------------------------------------------

    def monitors(self, query: AllMonitorsQuery = EVERY_MONITOR) -> AsyncIterator[MonitorView]:
        """Iterate monitors of all users, or of ``query.user``."""
        return self._iterate("/v1/monitors", query, MonitorView, query.user)

    async def monitor(self, user_id: str, monitor_id: str) -> MonitorView:
        """Return a monitor."""
        return await self.get(_monitor(user_id, monitor_id), MonitorView, user_id=user_id)

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
            _monitor(user_id, monitor_id),
            "put",
            user_id,
            monitor_id,
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
            _monitor(user_id, monitor_id),
            "put",
            user_id,
            monitor_id,
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
        path = _monitor(user_id, monitor_id)
        return await self._command("DELETE", path, "delete", user_id, monitor_id, command_id=command_id, wait_s=wait_s)

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
        path, body = _monitor(user_id, monitor_id, "pause"), MonitorPauseBody(until, reason)
        return await self._command(
            "POST", path, "pause", user_id, monitor_id, body=body, command_id=command_id, wait_s=wait_s
        )

    async def resume_monitor(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Resume a monitor."""
        path = _monitor(user_id, monitor_id, "resume")
        return await self._command("POST", path, "resume", user_id, monitor_id, command_id=command_id, wait_s=wait_s)

    async def run_monitor(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Run a monitor once, beside its schedule."""
        path = _monitor(user_id, monitor_id, "run")
        return await self._command("POST", path, "run_now", user_id, monitor_id, command_id=command_id, wait_s=wait_s)

    async def incidents(self, user_id: str = "", limit: int = 100) -> Listed[IncidentView]:
        """Return incidents that are not closed, of a user or of all."""
        return await self.get("/v1/incidents", Listed[IncidentView], user=user_id, limit=limit)

    async def shared_incidents(self) -> SharedIncidentsView:
        """Return open incidents of many monitors: of targets, and of executors."""
        return await self.get("/v1/incidents/shared", SharedIncidentsView)

    async def acknowledge(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Acknowledge a monitor's open incident; ``ack`` of the answer is null while no notifier has read it."""
        return await self._about_incident("POST", "ack", user_id, monitor_id, None, command_id, wait_s)

    async def withdraw_ack(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Take the acknowledgement or snooze of a monitor's open incident back."""
        return await self._about_incident("DELETE", "ack", user_id, monitor_id, None, command_id, wait_s)

    async def snooze(
        self, user_id: str, monitor_id: str, for_: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Send no alert of a monitor's open incident but its end for a duration such as ``2h``."""
        body = SnoozeBody(for_=for_)
        return await self._about_incident("POST", "snooze", user_id, monitor_id, body, command_id, wait_s)

    async def incident(self, incident_id: str) -> IncidentDetail:
        """Return an incident, open or over, with its comments."""
        return await self.get(place("incidents", incident_id), IncidentDetail)

    async def resolve_incident(
        self, incident_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """End an incident by hand: nothing more is told of it, until its monitor recovers and fails again."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path = place("incidents", incident_id, "resolve")
        sent = command("POST", path, command_id or uuid4().hex, user_id="", wait_s=wait_s)
        return _decoded(await self._transport.send(sent), IncidentView)

    async def comment_incident(
        self, incident_id: str, text: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentComment:
        """Write something on an incident, open or over."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path, body = place("incidents", incident_id, "comments"), CommentBody(text)
        sent = command("POST", path, command_id or uuid4().hex, user_id="", body=body, wait_s=wait_s)
        return _decoded(await self._transport.send(sent), IncidentComment)

    async def routes(self) -> Listed[ListedRoute]:
        """Return the routes of the notification rules, in the order in which they are tried."""
        return await self.get("/v1/routes", Listed[ListedRoute])

    async def deliveries(self, query: DeliveriesQuery = EVERY_DELIVERY) -> Listed[DeliveryView]:
        """Return messages to receivers of alerts, the latest first."""
        answer = await self._transport.send(read("/v1/deliveries", query))
        return _decoded(answer, Listed[DeliveryView])

    async def channels(self, user_id: str = "") -> Listed[ChannelView]:
        """Return addresses that were given up; ``user_id``: of one user."""
        return await self.get("/v1/channels", Listed[ChannelView], user=user_id)

    async def contacts(self, user_id: str) -> Listed[ContactView]:
        """Return a user's mail addresses that are or are to be verified."""
        return await self.get(place("users", user_id, "contacts"), Listed[ContactView], user_id=user_id)

    async def verify_contact(self, user_id: str, code: str, *, wait_s: float | None = None) -> Listed[ContactView]:
        """Confirm the addresses of a user that were sent this code."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path = place("users", user_id, "contacts", "verify")
        sent = command("POST", path, uuid4().hex, user_id=user_id, body=VerifyBody(code), wait_s=wait_s)
        return _decoded(await self._transport.send(sent), Listed[ContactView])

    async def send_test(self, user_id: str, route: str = "", *, wait_s: float | None = None) -> Listed[DeliveryView]:
        """Send a test message to a user by each route that reaches them, or by one; returns what became of it."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path = place("users", user_id, "contacts", "test")
        sent = command("POST", path, uuid4().hex, user_id=user_id, body=ContactTestBody(route), wait_s=wait_s)
        return _decoded(await self._transport.send(sent), Listed[DeliveryView])

    async def replay_deliveries(self, body: ReplayBody) -> int:
        """Send messages again; returns how many."""
        sent = ApiRequest(method="POST", path="/v1/deliveries/replay", body=msgspec.json.encode(body))
        return _decoded(await self._transport.send(sent), ReplayView).messages

    async def silences(self) -> Listed[AlertSilence]:
        """Return silences that are on or ahead."""
        return await self.get("/v1/silences", Listed[AlertSilence])

    async def preview_silence(self, match: Selector) -> SilencePreview:
        """Return which monitors and open incidents a silence would be about."""
        body = msgspec.json.encode(SelectorBody(match))
        sent = ApiRequest(method="POST", path="/v1/silences/preview", body=body, is_repeatable=True, takes_s=35.0)
        return _decoded(await self._transport.send(sent), SilencePreview)

    async def create_silence(
        self, body: SilenceBody, *, command_id: str = "", wait_s: float | None = None
    ) -> AlertSilence:
        """Send no alerts of the monitors that a selector has, for a while."""
        wait_s = self._wait_s if wait_s is None else wait_s
        sent = command("POST", "/v1/silences", command_id or uuid4().hex, user_id="", body=body, wait_s=wait_s)
        return _decoded(await self._transport.send(sent), AlertSilence)

    async def end_silence(self, silence_id: str, *, wait_s: float | None = None) -> AlertSilence:
        """End a silence; alerts go out for what is still down."""
        wait_s = self._wait_s if wait_s is None else wait_s
        sent = command("DELETE", place("silences", silence_id), uuid4().hex, user_id="", wait_s=wait_s)
        return _decoded(await self._transport.send(sent), AlertSilence)

    async def _about_incident(
        self,
        method: str,
        what: str,
        user_id: str,
        monitor_id: str,
        body: SnoozeBody | None,
        command_id: str,
        wait_s: float | None,
    ) -> IncidentView:
        wait_s = self._wait_s if wait_s is None else wait_s
        path, command_id = _monitor(user_id, monitor_id, what), command_id or uuid4().hex
        sent = command(method, path, command_id, user_id=user_id, body=body, wait_s=wait_s)
        return _decoded(await self._transport.send(sent), IncidentView)

    async def next_runs(self, user_id: str, monitor_id: str, limit: int = NextQuery().limit) -> list[int]:
        """Return the next instants (ms) at which a monitor is due."""
        path = _monitor(user_id, monitor_id, "next")
        return (await self.get(path, RunView, user_id=user_id, limit=limit)).next_runs

    async def explain(self, user_id: str, monitor_id: str) -> ExplanationView:
        """Return why a monitor is in its state, when it runs next, and which processes look after it."""
        return await self.get(_monitor(user_id, monitor_id, "explain"), ExplanationView, user_id=user_id)

    async def timeline(self, user_id: str, monitor_id: str, query: TimelineQuery = LAST_DAY) -> TimelineView:
        """Return for how long a monitor was in which state, and its availability."""
        sent = read(_monitor(user_id, monitor_id, "timeline"), query, user_id=user_id)
        return _decoded(await self._transport.send(sent), TimelineView)

    async def timelines(self, query: TimelinesQuery = FIRST_TIMELINES) -> TimelinesView:
        """Return which states the monitors of one page of a list were in."""
        sent = read("/v1/timelines", query, user_id=query.user)
        return _decoded(await self._transport.send(sent), TimelinesView)

    async def latency(self, user_id: str, monitor_id: str, query: LatencyQuery = LAST_HOURS) -> LatencyView:
        """Return durations and counts of a monitor by hour or day."""
        sent = read(_monitor(user_id, monitor_id, "latency"), query, user_id=user_id)
        return _decoded(await self._transport.send(sent), LatencyView)

    async def validate_monitor(self, monitor: AnyMonitor) -> ValidationView:
        """Return whether a monitor would be admitted, and why not; nothing is stored."""
        sent = ApiRequest(
            method="POST", path="/v1/monitors/validate", body=msgspec.json.encode(monitor), is_repeatable=True
        )
        return _decoded(await self._transport.send(sent), ValidationView)

    async def try_monitor(self, monitor: AnyMonitor) -> TrialView:
        """Run a monitor once, on an executor, and return what it found; nothing is stored."""
        sent = ApiRequest(method="POST", path="/v1/monitors/try", body=msgspec.json.encode(monitor), takes_s=35.0)
        return _decoded(await self._transport.send(sent), TrialView)

    async def try_change(self, user_id: str, monitor_id: str, patch: Mapping[str, Any]) -> TrialView:
        """Run a monitor once as a JSON merge patch (RFC 7396) would make it; nothing is changed or stored."""
        sent = ApiRequest(
            method="POST",
            path=_monitor(user_id, monitor_id, "try"),
            user_id=user_id,
            body=msgspec.json.encode(patch),
            media_type=MERGE_PATCH,
            takes_s=35.0,
        )
        return _decoded(await self._transport.send(sent), TrialView)

    async def facets(self, query: FacetsQuery = EVERY_FACET) -> FacetsView:
        """Return how many monitors there are of each state, kind and plan, under the filters of a list."""
        sent = read("/v1/monitors/facets", query, user_id=query.user)
        return _decoded(await self._transport.send(sent), FacetsView)

    # --- bulk jobs ------------------------------------------------------------------------------------------------

    async def preview_job(self, filter_: FacetsQuery) -> JobPreview:
        """Return how many monitors a bulk job with this filter would be about, and some of them."""
        body = msgspec.json.encode(JobPreviewBody(filter_))
        sent = ApiRequest(method="POST", path="/v1/jobs/preview", body=body, is_repeatable=True, takes_s=35.0)
        return _decoded(await self._transport.send(sent), JobPreview)

    async def create_job(self, body: JobBody, *, command_id: str = "") -> JobView:
        """Make a bulk job: pause, resume, run or delete all monitors that a filter has, in the background."""
        sent = command("POST", "/v1/jobs", command_id or uuid4().hex, user_id=body.filter.user, body=body)
        return _decoded(await self._transport.send(msgspec.structs.replace(sent, takes_s=35.0)), JobView)

    async def spec_changes(self, user_id: str, monitor_id: str) -> list[SpecChangeView]:
        """The changes of a monitor's specification, the latest first."""
        path = place("users", user_id, "monitors", monitor_id, "changes")
        return (await self.get(path, SpecChangesView)).items

    async def start_audit(self, body: AuditRunBody, *, command_id: str = "") -> AuditRunView:
        """Look in the background whether every tick that was due ran, once each; ``audit_run`` tells how far it is."""
        sent = command("POST", "/v1/audit/runs", command_id or uuid4().hex, user_id="", body=body)
        return _decoded(await self._transport.send(sent), AuditRunView)

    async def audit_run(self, run_id: str) -> AuditRunView:
        """Return a run of the tick audit, with its report once it is done."""
        return await self.get(place("audit", "runs", run_id), AuditRunView)

    async def audit_runs(self) -> list[AuditRunView]:
        """Return runs of the tick audit, the latest first."""
        return (await self.get("/v1/audit/runs", AuditRunList)).items

    async def jobs(self) -> list[JobView]:
        """Return bulk jobs, the latest first."""
        return (await self.get("/v1/jobs", JobList)).items

    async def job(self, job_id: str) -> JobView:
        """Return a bulk job and how far it has come."""
        return await self.get(place("jobs", job_id), JobView)

    async def job_errors(self, job_id: str) -> list[JobItem]:
        """Return the monitors that refused a bulk job's command."""
        return (await self.get(place("jobs", job_id, "errors"), JobErrorsView)).items

    async def cancel_job(self, job_id: str) -> None:
        """Stop a bulk job; what it has done stays."""
        await self._transport.send(ApiRequest(method="DELETE", path=place("jobs", job_id)))

    # --- tasks ----------------------------------------------------------------------------------------------------

    def tasks(self, query: AllTasksQuery = EVERY_TASK) -> AsyncIterator[TaskView]:
        """Iterate delayed tasks, those due first, of all users or of ``query.user``."""
        return self._iterate("/v1/tasks", query, TaskView, query.user)

    async def task(self, user_id: str, task_id: str) -> TaskView:
        """Return a delayed task."""
        return await self.get(place("users", user_id, "tasks", task_id), TaskView, user_id=user_id)

    async def create_task(
        self, user_id: str, body: TaskBody, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Create a delayed task; one without an id gets one (``monitor_id`` of the outcome)."""
        path = place("users", user_id, "tasks")
        return await self._command(
            "POST", path, "put", user_id, body.task_id, body=body, command_id=command_id, wait_s=wait_s
        )

    async def cancel_task(
        self, user_id: str, task_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Cancel a pending task."""
        path = place("users", user_id, "tasks", task_id)
        return await self._command("DELETE", path, "cancel", user_id, task_id, command_id=command_id, wait_s=wait_s)

    # --- what has happened ----------------------------------------------------------------------------------------

    def results(self, query: AllResultsQuery = EVERY_RESULT, monitor_id: str = "") -> AsyncIterator[ResultView]:
        """Iterate results, the latest first; ``monitor_id``: of this monitor of ``query.user``."""
        path, query = _of_monitor("results", query, monitor_id)
        return self._iterate(path, query, ResultView, query.user)

    def transitions(
        self, query: AllTransitionsQuery = EVERY_TRANSITION, monitor_id: str = ""
    ) -> AsyncIterator[Transition]:
        """Iterate transitions, the latest first; ``monitor_id``: of this monitor of ``query.user``."""
        path, query = _of_monitor("transitions", query, monitor_id)
        return self._iterate(path, query, Transition, query.user)

    def audit(self, query: AuditQuery = EVERY_CHANGE) -> AsyncIterator[AuditEntry]:
        """Iterate who changed what over HTTP, the latest first."""
        return self._iterate("/v1/audit", query, AuditEntry)

    async def dead_letters_page(self, query: LettersQuery = EVERY_LETTER) -> LettersView:
        """Return one page of dead letters, the latest first; the first one counts them by reason."""
        return _decoded(await self._transport.send(read("/v1/dead-letters", query)), LettersView)

    def dead_letters(self, query: LettersQuery = EVERY_LETTER) -> AsyncIterator[LetterView]:
        """Iterate dead letters, the latest first."""
        return self._iterate("/v1/dead-letters", query, LetterView)

    async def dead_letter(self, partition: int, offset: int) -> LetterView:
        """Return one dead letter."""
        return await self.get(place("dead-letters", str(partition), str(offset)), LetterView)

    async def redrive(self, body: RedriveBody) -> RedriveView:
        """Send dead letters back to where they came from, at most 1,000; with ``dry_run`` say what would be sent.

        One that was sent back is left out the next time, so it is repeated where that is harmless: without ``again``.
        """
        sent = ApiRequest(
            method="POST",
            path="/v1/dead-letters/redrive",
            body=msgspec.json.encode(body),
            is_repeatable=body.dry_run or not body.again,
            takes_s=35.0,
        )
        return _decoded(await self._transport.send(sent), RedriveView)

    async def live(
        self, user_id: str = "", monitor_id: str = "", only: EventKind | None = None
    ) -> AsyncIterator[LiveEvent]:
        """Iterate results and transitions as they come, from now on and without end.

        A stream that breaks is opened again where it broke, for up to ``patience_s``; events that came while there was
        no connection come then, or are counted as dropped.
        """
        request = read("/v1/live", LiveQuery(user_id, monitor_id, only), user_id=user_id)
        parser = EventParser()
        loop = asyncio.get_running_loop()
        heard_s, attempt = loop.time(), 0
        while True:
            try:
                async with self._transport.stream(request, parser.last_event_id) as lines:
                    async for line in lines:
                        heard_s, attempt = loop.time(), 0
                        if (event := parser.take(line.rstrip(b"\r\n"))) is not None:
                            yield event
                raise ApiError(0, UNREACHABLE, "The API ended the stream of events.")
            except ApiError as error:
                pause = pause_s(error, request, attempt)
                if pause is None or loop.time() + pause > heard_s + self._patience_s:
                    raise
                await self._sleep(pause)
                attempt += 1

    # --- signals, and many commands at once -----------------------------------------------------------------------

    async def signal(self, *signals: SignalBody) -> int:
        """Send signals of jobs, and values; gives how many are durable.

        They are sent again only where each says when it was (``at``): the same signal of the same instant counts once.
        """
        users = {each.user_id for each in signals}
        sent = ApiRequest(
            method="POST",
            path="/v1/signals",
            user_id=users.pop() if len(users) == 1 else "",
            body=msgspec.json.encode(SignalsBody(list(signals))),
            is_repeatable=all(each.at for each in signals),
        )
        return _decoded(await self._transport.send(sent), Accepted).accepted

    async def ping_key(self, user_id: str) -> PingKeyView:
        """Return the key of a user's ping URLs."""
        return await self.get(place("users", user_id, "ping-key"), PingKeyView, user_id=user_id)

    async def batch(self, commands: Iterable[Mapping[str, Any]], *, wait_s: float | None = None) -> list[LineOutcome]:
        """Carry out up to 10,000 commands, as on the topic ``commands``, also ``signup`` and ``signal``.

        Gives what became of each, in order. Those without an id get one. Signals without ``at`` keep the batch from
        being sent again.
        """
        lines = [_with_id(each) for each in commands]
        sent = ApiRequest(
            method="POST",
            path="/v1/batch",
            body=b"".join(msgspec.json.encode(each) + b"\n" for each in lines),
            media_type=NDJSON,
            is_repeatable=not any(each.get("command") == "signal" and not each.get("at") for each in lines),
            wait_s=self._wait_s if wait_s is None else wait_s,
        )
        answer = await self._transport.send(sent)
        found = [_read_as(LineOutcome, line, answer.status) for line in answer.body.splitlines()]
        for each in found:
            if each.outcome is not None:
                self._transport.positions.note(each.outcome.user_id, each.outcome.position)
        return found

    async def outcome(self, user_id: str, command_id: str) -> OutcomeView | None:
        """Return what became of a command; None if no worker has answered it, or not lately."""
        try:
            return await self.get(place("users", user_id, "commands", command_id), OutcomeView, user_id=user_id)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    # --- the system -----------------------------------------------------------------------------------------------

    async def counts(self) -> CountsView:
        """Return how many monitors there are by state, kind and plan, and users by plan."""
        return await self.get("/v1/counts", CountsView)

    async def lag(self) -> LagView:
        """Return how far processes are behind, by topic and group."""
        return await self.get("/v1/lag", LagView)

    async def partitions(self) -> PartitionsView:
        """Return how far processes are behind, by partition, and who owns it."""
        return await self.get("/v1/partitions", PartitionsView)

    async def workers(self) -> WorkersView:
        """Return workers, executors and sinks."""
        return await self.get("/v1/workers", WorkersView)

    async def diagnosis(self) -> DiagnosisView:
        """Return what is wrong with the system, and what to do about it."""
        return await self.get("/v1/diagnosis", DiagnosisView)


def _decoded(answer: HttpAnswer, kind: type[Value]) -> Value:
    """The body of an answer. Raises ApiError for what is of another kind."""
    return _read_as(kind, answer.body, answer.status)


def _read_as(kind: type[Value], data: bytes, status: int) -> Value:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unknown_answer(status, error) from None


def _monitor(user_id: str, monitor_id: str, *more: str) -> str:
    return place("users", user_id, "monitors", monitor_id, *more)


AnyQuery = TypeVar("AnyQuery", AllResultsQuery, AllTransitionsQuery)


def _of_monitor(what: str, query: AnyQuery, monitor_id: str) -> tuple[str, AnyQuery]:
    """The path of a list: of one monitor, or of all."""
    if not monitor_id:
        return f"/v1/{what}", query
    return _monitor(query.user, monitor_id, what), msgspec.structs.replace(query, user="")


def _with_id(line: Mapping[str, Any]) -> Mapping[str, Any]:
    is_command = line.get("command") not in ("signup", "signal")
    return {**line, "command_id": uuid4().hex} if is_command and not line.get("command_id") else line
