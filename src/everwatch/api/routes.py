"""The table of routes: every path, method, permission, input and answer of the API, and nothing else."""

from typing import Any

from everwatch.api.alerting import (
    Alerting,
    ChannelsQuery,
    ChannelView,
    DeliveriesQuery,
    DeliveryView,
    IncidentsQuery,
    Listed,
    NotificationsView,
)
from everwatch.api.auditing import Auditing
from everwatch.api.badges import SVG, BadgeJson, BadgeQuery, Badges, BadgeView
from everwatch.api.batch import BODY_LIMIT as BATCH_LIMIT
from everwatch.api.batch import NDJSON, Batch
from everwatch.api.bodies import MaintenanceBody, PauseBody, RedriveBody, SignalsBody, TaskBody, UserBody, UserChange
from everwatch.api.commands_route import CommandOutcomes
from everwatch.api.console_routes import CONSOLE, ConsoleRoutes
from everwatch.api.diagnosing import Diagnosing
from everwatch.api.edge import EVENT_STREAM
from everwatch.api.explaining import Explaining
from everwatch.api.facets import Facets
from everwatch.api.job_views import JobBody, JobErrorsView, JobList, JobPreview, JobPreviewBody, JobView
from everwatch.api.jobs import JobRoutes
from everwatch.api.letters import Letters
from everwatch.api.login_routes import LoginBody, LoginQuery, LoginRoutes, MeView
from everwatch.api.monitors import Monitors
from everwatch.api.overview import Overview, OverviewView
from everwatch.api.past import Past
from everwatch.api.permissions import ANY_TOKEN, BY_KEY, OPEN, Permission, Reach, Scope
from everwatch.api.queries import (
    AllMonitorsQuery,
    AllResultsQuery,
    AllTasksQuery,
    AllTransitionsQuery,
    AuditQuery,
    FacetsQuery,
    LatencyQuery,
    LettersQuery,
    LiveQuery,
    MonitorsQuery,
    NextQuery,
    ResultsQuery,
    TaskCountsQuery,
    TasksQuery,
    TimelineQuery,
    TransitionsQuery,
    UsersQuery,
)
from everwatch.api.routing import Example, Route
from everwatch.api.services import Services
from everwatch.api.signals import PING_BODY_LIMIT, PingQuery, Signals
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
    TimelineView,
    ValidationView,
    WorkersView,
)
from everwatch.api.status_pages import ATOM, HTML, StatusPages, StatusPageView
from everwatch.api.system import PlansView, ProbeView, System
from everwatch.api.tasks import Tasks
from everwatch.api.token_routes import CreatedToken, TokenBody, TokenList, TokenRoutes
from everwatch.api.users import Users
from everwatch.api.validating import Validating
from everwatch.api.views import (
    Accepted,
    MonitorView,
    Outcome,
    Page,
    PingKeyView,
    ResultView,
    RunView,
    TaskCountsView,
    TaskView,
    UserView,
)
from everwatch.encoding.input_models import MonitorInput
from everwatch.model import AuditEntry, Transition
from everwatch.notifier.incidents import Incident

USERS, USER = "/v1/users", "/v1/users/{user_id}"
MONITORS, MONITOR = f"{USER}/monitors", f"{USER}/monitors/{{monitor_id}}"
TASKS = f"{USER}/tasks"
PING = "/ping/{key}/{slug}"
DONE = {200: Example(Outcome, "It was carried out."), 202: Example(Outcome, "It is kept; no worker answered yet.")}
ENDED = {204: Example(None, "It was carried out."), 202: Example(Outcome, "It is kept; no worker answered yet.")}
CREATED = {201: Example(Outcome, "It was created."), **DONE}


def _of(scope: Scope, reach: Reach) -> Permission:
    return Permission(scope, reach)


READ_USER, READ_LIST = _of(Scope.READ, Reach.USER), _of(Scope.READ, Reach.NARROWED)
READ_WHOLE = _of(Scope.READ, Reach.WHOLE)
WRITE_USER, RUN_USER = _of(Scope.WRITE, Reach.USER), _of(Scope.RUN, Reach.USER)
ADMIN = _of(Scope.ADMIN, Reach.WHOLE)


def system_of(services: Services) -> System:
    """Return the handlers of what is not about users."""
    return System(services.database, services.measure_lag, services.plans, services.not_ready, services.clock)


def routes(services: Services, system: System) -> list[Route]:
    """Return all routes."""
    users = Users(services.database, services.commands)
    monitors = Monitors(services.database, services.commands, services.clock, services.secrets)
    signals = Signals(services.commands, services.ping_keys, services.clock)
    logins = LoginRoutes(services.tokens, services.logins, services.records, services.access_topic, services.clock)
    found = [
        *_of_users(users),
        *_of_monitors(monitors, Facets(services.database), Validating(services.clock)),
        *_of_tasks(Tasks(services.database, services.commands, services.clock)),
        *_of_past(Past(services.database, services.clock)),
        *_of_state(services),
        *_of_signals(signals),
        Route(
            method="GET",
            path="/v1/live",
            permission=READ_LIST,
            handler=services.live.stream,
            summary="Stream results and transitions as they come (server-sent events), at most 50 a second.",
            query=LiveQuery,
            answers={200: Example(str, "Events named result, transition and dropped.")},
            media_type=EVENT_STREAM,
        ),
        *_of_jobs(JobRoutes(services.jobs, services.database, services.job_writer, services.clock)),
        *_of_commands(CommandOutcomes(services.commands, services.database), Batch(services.commands)),
        *_of_tokens(TokenRoutes(services.tokens, services.records, services.access_topic, services.clock)),
        *_of_logins(logins),
        *_of_system(system),
        *_of_console(ConsoleRoutes(services.console)),
    ]
    logins.describe(found)
    return found


def _of_users(users: Users) -> list[Route]:
    found = {200: Example(UserView, "The user.")}
    return [
        Route(
            method="GET",
            path=USERS,
            permission=READ_LIST,
            handler=users.list,
            summary="List users.",
            query=UsersQuery,
            answers={200: Example(Page[UserView], "A page of users, by id.")},
        ),
        Route(
            method="GET",
            path=USER,
            permission=READ_USER,
            handler=users.get,
            summary="Show a user.",
            answers=found,
        ),
        Route(
            method="PUT",
            path=USER,
            permission=WRITE_USER,
            handler=users.put,
            summary="Sign a user up, or state its registration anew.",
            audited="signup",
            body=UserBody,
            answers=CREATED,
            command=True,
        ),
        Route(
            method="PATCH",
            path=USER,
            permission=WRITE_USER,
            handler=users.patch,
            summary="Change a user's plan or attributes.",
            audited="set_user",
            body=UserChange,
            answers=DONE,
            command=True,
        ),
        Route(
            method="DELETE",
            path=USER,
            permission=WRITE_USER,
            handler=users.delete,
            summary="End a user with all monitors and pending tasks; results stay.",
            audited="deregister",
            answers=ENDED,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{USER}/pause",
            permission=RUN_USER,
            handler=users.pause,
            summary="Pause all monitors of a user.",
            audited="pause_user",
            body=PauseBody,
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{USER}/resume",
            permission=RUN_USER,
            handler=users.resume,
            summary="Resume what a pause of the user paused.",
            audited="resume_user",
            answers=DONE,
            command=True,
        ),
        Route(
            method="PUT",
            path=f"{USER}/maintenance",
            permission=RUN_USER,
            handler=users.maintain,
            summary="Set a user's maintenance windows.",
            audited="maintain",
            body=MaintenanceBody,
            answers=DONE,
            command=True,
        ),
    ]


def _of_monitors(monitors: Monitors, facets: Facets, validating: Validating) -> list[Route]:
    page = {200: Example(Page[MonitorView], "A page of monitors, by user and id.")}
    return [
        Route(
            method="GET",
            path="/v1/monitors",
            permission=READ_LIST,
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
            method="GET",
            path="/v1/monitors/facets",
            permission=READ_LIST,
            handler=facets.facets,
            summary="Count monitors by state, kind and plan, each under what the other filters say.",
            query=FacetsQuery,
            answers={200: Example(FacetsView, "The counts.")},
        ),
        Route(
            method="GET",
            path=MONITORS,
            permission=READ_USER,
            handler=monitors.list_of_user,
            summary="List a user's monitors.",
            query=MonitorsQuery,
            answers=page,
        ),
        Route(
            method="GET",
            path=MONITOR,
            permission=READ_USER,
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
            permission=RUN_USER,
            handler=monitors.pause,
            summary="Pause a monitor.",
            audited="pause",
            body=PauseBody,
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/resume",
            permission=RUN_USER,
            handler=monitors.resume,
            summary="Resume a monitor.",
            audited="resume",
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/run",
            permission=RUN_USER,
            handler=monitors.run,
            summary="Run a monitor once, beside its schedule.",
            audited="run_now",
            answers=DONE,
            command=True,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/next",
            permission=READ_USER,
            handler=monitors.next_runs,
            summary="Tell when a monitor is due next.",
            query=NextQuery,
            answers={200: Example(RunView, "The instants, the earliest first.")},
        ),
    ]


def _of_tasks(tasks: Tasks) -> list[Route]:
    page = {200: Example(Page[TaskView], "A page of tasks, those due first.")}
    return [
        Route(
            method="GET",
            path="/v1/tasks",
            permission=READ_LIST,
            handler=tasks.list,
            summary="List delayed tasks of all users.",
            query=AllTasksQuery,
            answers=page,
        ),
        Route(
            method="GET",
            path="/v1/tasks/counts",
            permission=READ_LIST,
            handler=tasks.counts,
            summary="Count delayed tasks by status.",
            query=TaskCountsQuery,
            answers={200: Example(TaskCountsView, "The counts.")},
        ),
        Route(
            method="GET",
            path=TASKS,
            permission=READ_USER,
            handler=tasks.list_of_user,
            summary="List a user's delayed tasks.",
            query=TasksQuery,
            answers=page,
        ),
        Route(
            method="POST",
            path=TASKS,
            permission=WRITE_USER,
            handler=tasks.create,
            summary="Create a delayed task.",
            audited="put",
            body=TaskBody,
            answers={
                201: Example(Outcome, "It was created."),
                202: Example(Outcome, "It is kept; no worker answered yet."),
            },
            command=True,
            refusals=(412,),
        ),
        Route(
            method="GET",
            path=f"{TASKS}/{{task_id}}",
            permission=READ_USER,
            handler=tasks.get,
            summary="Show a delayed task; it is kept when it is over.",
            answers={200: Example(TaskView, "The task.")},
        ),
        Route(
            method="DELETE",
            path=f"{TASKS}/{{task_id}}",
            permission=WRITE_USER,
            handler=tasks.cancel,
            summary="Cancel a pending task.",
            audited="cancel",
            answers=ENDED,
            command=True,
        ),
    ]


def _of_past(past: Past) -> list[Route]:
    results = {200: Example(Page[ResultView], "A page of results, the latest first.")}
    transitions = {200: Example(Page[Transition], "A page of transitions, the latest first.")}
    return [
        Route(
            method="GET",
            path="/v1/results",
            permission=READ_LIST,
            handler=past.results,
            summary="List results of all users.",
            query=AllResultsQuery,
            answers=results,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/results",
            permission=READ_USER,
            handler=past.results_of_monitor,
            summary="List a monitor's results.",
            query=ResultsQuery,
            answers=results,
        ),
        Route(
            method="GET",
            path="/v1/transitions",
            permission=READ_LIST,
            handler=past.transitions,
            summary="List transitions of all users.",
            query=AllTransitionsQuery,
            answers=transitions,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/transitions",
            permission=READ_USER,
            handler=past.transitions_of_monitor,
            summary="List a monitor's transitions.",
            query=TransitionsQuery,
            answers=transitions,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/timeline",
            permission=READ_USER,
            handler=past.timeline,
            summary="Show for how long a monitor was in which state, and its availability.",
            query=TimelineQuery,
            answers={200: Example(TimelineView, "The interval, and bars of it.")},
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/latency",
            permission=READ_USER,
            handler=past.latency,
            summary="Show durations and counts of a monitor by hour or day, from its roll-ups.",
            query=LatencyQuery,
            answers={200: Example(LatencyView, "The hours or days.")},
        ),
    ]


def _of_state(services: Services) -> list[Route]:
    letters = Letters(services.database, services.redrive, services.clock)
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
            permission=READ_USER,
            handler=Explaining(services.database, services.owners, services.clock).explain,
            summary="Say why a monitor is in its state, when it runs next, and which processes look after it.",
            answers={200: Example(ExplanationView, "The explanation.")},
        ),
        Route(
            method="GET",
            path="/v1/audit",
            permission=_of(Scope.AUDIT, Reach.WHOLE),
            handler=Auditing(services.database).list,
            summary="List who changed what over HTTP, the latest first.",
            query=AuditQuery,
            answers={200: Example(Page[AuditEntry], "A page of changes, carried out or refused.")},
        ),
        Route(
            method="GET",
            path="/v1/dead-letters",
            permission=ADMIN,
            handler=letters.list,
            summary="List refused records, the latest first, and count them by reason.",
            query=LettersQuery,
            answers={200: Example(LettersView, "A page of dead letters.")},
        ),
        Route(
            method="GET",
            path="/v1/dead-letters/{partition}/{offset}",
            permission=ADMIN,
            handler=letters.get,
            summary="Show a refused record.",
            answers={200: Example(LetterView, "The dead letter.")},
        ),
        Route(
            method="POST",
            path="/v1/dead-letters/redrive",
            permission=ADMIN,
            handler=letters.redrive,
            summary="Send refused records back to where they came from, or say what would be sent.",
            audited="redrive",
            body=RedriveBody,
            answers={200: Example(RedriveView, "What became of each.")},
            is_patient=True,
        ),
        *_of_alerts(Alerting(services.alerts)),
        *_of_badges(Badges(services.database, services.ping_keys, services.clock)),
        *_of_status_pages(StatusPages(services.database, services.ping_keys, services.clock)),
    ]


def _of_alerts(alerting: Alerting) -> list[Route]:
    return [
        Route(
            method="GET",
            path="/v1/incidents",
            permission=READ_LIST,
            handler=alerting.incidents,
            summary="List incidents that are not closed.",
            query=IncidentsQuery,
            answers={200: Example(Listed[Incident], "The incidents, by user and monitor.")},
        ),
        Route(
            method="GET",
            path="/v1/deliveries",
            permission=READ_LIST,
            handler=alerting.deliveries,
            summary="List messages to receivers of alerts.",
            query=DeliveriesQuery,
            answers={200: Example(Listed[DeliveryView], "The messages, the latest first.")},
        ),
        Route(
            method="GET",
            path="/v1/channels",
            permission=READ_LIST,
            handler=alerting.channels,
            summary="List addresses that were given up, because nothing sent there arrives.",
            query=ChannelsQuery,
            answers={200: Example(Listed[ChannelView], "The addresses.")},
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/notifications",
            permission=READ_USER,
            handler=alerting.of_monitor,
            summary="Show whom a monitor's newest changes were told to, or why nobody was told.",
            answers={200: Example(NotificationsView, "The changes, the latest first.")},
        ),
    ]


def _of_badges(badges: Badges) -> list[Route]:
    return [
        Route(
            method="GET",
            path=f"{MONITOR}/badge",
            permission=READ_USER,
            handler=badges.key,
            summary="Show where a monitor's badge is: whoever knows it sees its state.",
            answers={200: Example(BadgeView, "The paths.")},
        ),
        Route(
            method="GET",
            path="/badge/{key}.svg",
            permission=BY_KEY,
            handler=badges.svg,
            summary="A monitor's badge as a picture.",
            query=BadgeQuery,
            answers={200: Example(str, "SVG.")},
            media_type=SVG,
        ),
        Route(
            method="GET",
            path="/badge/{key}.json",
            permission=BY_KEY,
            handler=badges.as_json,
            summary="A monitor's badge as what shields.io draws.",
            query=BadgeQuery,
            answers={200: Example(BadgeJson, "The badge.")},
        ),
    ]


def _of_status_pages(pages: StatusPages) -> list[Route]:
    return [
        Route(
            method="GET",
            path=f"{USER}/status-page",
            permission=READ_USER,
            handler=pages.key,
            summary="Show where a user's status page is: whoever knows it sees how the user's monitors are.",
            answers={200: Example(StatusPageView, "The paths.")},
        ),
        Route(
            method="GET",
            path="/status/{key}.atom",
            permission=BY_KEY,
            handler=pages.atom,
            summary="The outages of a status page as a feed.",
            answers={200: Example(str, "Atom (RFC 4287).")},
            media_type=ATOM,
        ),
        Route(
            method="GET",
            path="/status/{key}",
            permission=BY_KEY,
            handler=pages.html,
            summary="A user's status page: states, 90 days of availability, outages, maintenance.",
            answers={200: Example(str, "HTML, without scripts.")},
            media_type=HTML,
        ),
    ]


def _of_signals(signals: Signals) -> list[Route]:
    answers = {
        200: Example(str, "The signal is durable."),
        201: Example(str, "The monitor was created, and the signal is durable."),
    }
    pings = [
        Route(
            method=method,
            path=path,
            permission=BY_KEY,
            handler=signals.ping,
            summary=summary,
            query=PingQuery,
            raw=True,
            body_limit=PING_BODY_LIMIT,
            answers=answers,
            media_type="text/plain",
            accepts="*/*",
        )
        for path, summary in (
            (PING, "Tell that a job is alive and well."),
            (
                f"{PING}/{{what}}",
                "Tell that a job begins (start), failed (fail), or ended with an exit code (0 to 255).",
            ),
        )
        for method in ("GET", "POST")
    ]
    return [
        *pings,
        Route(
            method="GET",
            path=f"{USER}/ping-key",
            permission=_of(Scope.SIGNAL, Reach.USER),
            handler=signals.key,
            summary="Show the key of a user's ping URLs.",
            answers={200: Example(PingKeyView, "The key.")},
        ),
        Route(
            method="POST",
            path="/v1/signals",
            permission=_of(Scope.SIGNAL, Reach.NARROWED),
            handler=signals.post,
            summary="Send signals of jobs, and values.",
            body=SignalsBody,
            answers={202: Example(Accepted, "All of them are durable; workers judge them later.")},
        ),
    ]


def _of_commands(outcomes: CommandOutcomes, batch: Batch) -> list[Route]:
    return [
        Route(
            method="GET",
            path=f"{USER}/commands/{{command_id}}",
            permission=READ_USER,
            handler=outcomes.get,
            summary="Show what became of a command.",
            answers={200: Example(Outcome, "Its outcome.")},
        ),
        Route(
            method="POST",
            path="/v1/batch",
            permission=_of(Scope.WRITE, Reach.NARROWED),
            handler=batch.post,
            summary="Carry out up to 10,000 commands, one a line, as on the topic commands; also signup and signal.",
            audited="batch",
            raw=True,
            body_limit=BATCH_LIMIT,
            accepts=NDJSON,
            media_type=NDJSON,
            answers={207: Example(bytes, "A line for each command: its status and outcome.")},
            command=True,
        ),
    ]


def _of_jobs(jobs: JobRoutes) -> list[Route]:
    write = _of(Scope.WRITE, Reach.NARROWED)
    return [
        Route(
            method="POST",
            path="/v1/jobs/preview",
            permission=READ_LIST,
            handler=jobs.preview,
            summary="Count the monitors that a bulk job would be about.",
            body=JobPreviewBody,
            answers={200: Example(JobPreview, "How many there are, and some of them.")},
            is_patient=True,
        ),
        Route(
            method="POST",
            path="/v1/jobs",
            permission=write,
            handler=jobs.create,
            summary="Pause, resume, run or delete all monitors that a filter has, in the background.",
            audited="job",
            body=JobBody,
            answers={202: Example(JobView, "It is kept, and carried out from now on.")},
            command=True,
        ),
        Route(
            method="GET",
            path="/v1/jobs",
            permission=READ_LIST,
            handler=jobs.list,
            summary="List bulk jobs.",
            answers={200: Example(JobList, "The jobs, the latest first.")},
        ),
        Route(
            method="GET",
            path="/v1/jobs/{job_id}",
            permission=READ_LIST,
            handler=jobs.get,
            summary="Show a bulk job and how far it has come.",
            answers={200: Example(JobView, "The job.")},
        ),
        Route(
            method="GET",
            path="/v1/jobs/{job_id}/errors",
            permission=READ_LIST,
            handler=jobs.errors,
            summary="List the monitors that refused a bulk job's command.",
            answers={200: Example(JobErrorsView, "The monitors, and why.")},
        ),
        Route(
            method="DELETE",
            path="/v1/jobs/{job_id}",
            permission=write,
            handler=jobs.cancel,
            summary="Stop a bulk job; what it has done stays.",
            audited="cancel_job",
            answers={204: Example(None, "It goes no further.")},
            refusals=(409,),
        ),
    ]


def _of_tokens(tokens: TokenRoutes) -> list[Route]:
    return [
        Route(
            method="GET",
            path="/v1/tokens",
            permission=ADMIN,
            handler=tokens.list,
            summary="List tokens.",
            answers={200: Example(TokenList, "All stored tokens, without what they are.")},
        ),
        Route(
            method="POST",
            path="/v1/tokens",
            permission=ADMIN,
            handler=tokens.create,
            summary="Make a token; it is shown this once.",
            audited="create_token",
            body=TokenBody,
            answers={201: Example(CreatedToken, "The token.")},
        ),
        Route(
            method="DELETE",
            path="/v1/tokens/{token_id}",
            permission=ADMIN,
            handler=tokens.revoke,
            summary="Revoke a token.",
            audited="revoke_token",
            answers={204: Example(None, "It is revoked.")},
        ),
    ]


def _of_logins(logins: LoginRoutes) -> list[Route]:
    return [
        Route(
            method="GET",
            path="/login",
            permission=OPEN,
            handler=logins.by_link,
            summary="Log a browser in by a one-time link.",
            audited="login",
            query=LoginQuery,
            answers={303: Example(None, "To the console, with its cookie or without.")},
            documented=False,
            # what looks at a link without opening it must not use it up
            has_head=False,
        ),
        Route(
            method="POST",
            path="/login",
            permission=OPEN,
            handler=logins.by_token,
            summary="Log a page of the console in with a token: the answer sets a cookie.",
            audited="login",
            body=LoginBody,
            answers={204: Example(None, "The session has begun.")},
            same_origin=True,
        ),
        Route(
            method="POST",
            path="/logout",
            permission=ANY_TOKEN,
            handler=logins.logout,
            summary="End the session of the cookie; nothing ends a token but its revocation.",
            audited="logout",
            answers={204: Example(None, "The session is over.")},
        ),
        Route(
            method="GET",
            path="/v1/me",
            permission=ANY_TOKEN,
            handler=logins.me,
            summary="Show who asks: the role, what it may do, and the user that it is limited to.",
            answers={200: Example(MeView, "The token.")},
        ),
    ]


def _of_system(system: System) -> list[Route]:
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


def _of_console(console: ConsoleRoutes) -> list[Route]:
    """The pages of the console: for browsers, so they are not in the document."""
    return [
        *(
            Route(
                method="GET",
                path=path,
                permission=OPEN,
                handler=console.enter,
                summary="Go to the console.",
                answers={308: Example(None, "It is there.")},
                documented=False,
                any_query=True,
            )
            for path in ("/", CONSOLE.removesuffix("/"))
        ),
        Route(
            method="GET",
            path=f"{CONSOLE}{{path:.*}}",
            permission=OPEN,
            handler=console.file,
            summary="A file of the console, or its page.",
            answers={200: Example(bytes, "The file.")},
            documented=False,
            any_query=True,
        ),
    ]
