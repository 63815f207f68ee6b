"""All routes of the API in one table, with their handlers."""

from everwatch.api.ack_pages import AckPages
from everwatch.api.alerting import Alerting
from everwatch.api.audit_runs import AuditRunRoutes
from everwatch.api.badges import Badges
from everwatch.api.batch import Batches
from everwatch.api.commands_route import CommandOutcomes
from everwatch.api.console_routes import ConsoleRoutes
from everwatch.api.exporting import Exporting
from everwatch.api.facets import Facets
from everwatch.api.flapping import FlappingMonitors
from everwatch.api.hooks import Hooks
from everwatch.api.import_stream import ImportStream
from everwatch.api.importing import Importing, ImportRoutes
from everwatch.api.incident_writes import IncidentWrites
from everwatch.api.inspecting import Inspecting
from everwatch.api.jobs import JobRoutes
from everwatch.api.letters import Letters
from everwatch.api.login_audit import LoginAudit
from everwatch.api.login_routes import LoginRoutes
from everwatch.api.monitors import Monitors
from everwatch.api.notifier_requests import NotifierRequests
from everwatch.api.oidc_routes import OidcRoutes
from everwatch.api.operator_routes import OperatorRoutes
from everwatch.api.password_routes import PasswordRoutes
from everwatch.api.past import Past
from everwatch.api.purging import Purges
from everwatch.api.route_listing import RouteListing
from everwatch.api.routes.alerts import ack_link_routes, alert_routes, notifier_request_routes
from everwatch.api.routes.badges import badge_routes
from everwatch.api.routes.commands import command_routes
from everwatch.api.routes.console import console_routes
from everwatch.api.routes.dead_letters import dead_letter_routes
from everwatch.api.routes.hooks import hook_routes
from everwatch.api.routes.jobs import audit_run_routes, job_routes
from everwatch.api.routes.live import live_routes
from everwatch.api.routes.logins import login_routes
from everwatch.api.routes.monitors import monitor_routes
from everwatch.api.routes.past import past_routes
from everwatch.api.routes.saved_views import saved_view_routes
from everwatch.api.routes.signals import signal_routes
from everwatch.api.routes.silences import silence_routes
from everwatch.api.routes.state import state_routes
from everwatch.api.routes.status_pages import status_page_routes
from everwatch.api.routes.system import system_routes
from everwatch.api.routes.tasks import task_routes
from everwatch.api.routes.tokens import token_routes
from everwatch.api.routes.users import purge_routes, user_routes
from everwatch.api.routing import Route
from everwatch.api.saved_views import SavedViewRoutes
from everwatch.api.services import Services
from everwatch.api.sessions import Sessions
from everwatch.api.signals import Signals
from everwatch.api.silences import Silences
from everwatch.api.status_pages import StatusPages
from everwatch.api.subscribing import Subscribing
from everwatch.api.system import Installation
from everwatch.api.tasks import Tasks
from everwatch.api.timelines import Timelines
from everwatch.api.token_routes import TokenRoutes
from everwatch.api.trying import Trying
from everwatch.api.user_metrics import UserMetrics
from everwatch.api.users import Users
from everwatch.api.validating import Validating


def system_of(services: Services) -> Installation:
    """Return the handlers of the routes that are not about users."""
    return Installation(services.database, services.measure_lag, services.plans, services.not_ready, services.clock)


def status_pages_of(services: Services) -> StatusPages:
    """Return the handlers of status pages."""
    return StatusPages(services.database, services.ping_keys, services.status_pages, services.clock)


def routes(services: Services, system: Installation, pages: StatusPages) -> list[Route]:
    """Return all routes."""
    users = Users(services.database, services.commands)
    flapping = FlappingMonitors(services.alerts, services.clock)
    monitors = Monitors(services.database, flapping, services.commands, services.clock, services.secrets)
    trying = Trying(services.database, services.trials, services.secrets, services.clock)
    signals = Signals(services.commands, services.ping_keys, services.clock)
    clock, tokens = services.clock, services.tokens
    sessions = Sessions(tokens, services.logins, services.records, services.access_topic, clock)
    login_audit = LoginAudit(clock)
    oidc = services.oidc
    logins = LoginRoutes(tokens, services.logins, sessions, login_audit, oidc, clock)
    passwords = PasswordRoutes(tokens.operators, sessions, login_audit, clock, services.is_password)
    oidc_logins = OidcRoutes(oidc.provider, sessions, login_audit, services.oidc_session_ms, clock)
    subscribing = Subscribing(
        services.status_pages, services.ping_keys, services.records, services.incidents_topic, services.clock
    )
    importing = Importing(services.commands, services.plans)
    found = [
        *user_routes(users, Exporting(services.database, services.secrets, tokens.is_valid, clock)),
        *purge_routes(Purges(services.database, services.commands)),
        *monitor_routes(monitors, Facets(services.database), Validating(services.clock), trying),
        *task_routes(Tasks(services.database, services.commands, services.clock)),
        *past_routes(Past(services.database, services.clock), Timelines(services.database, services.clock)),
        *state_routes(services),
        *dead_letter_routes(Letters(services.database, services.redrive, services.looks.letter, services.clock)),
        *alert_routes(
            Alerting(services.alerts),
            RouteListing(services.alerts, services.database),
            IncidentWrites(services.alerts, services.records, services.incidents_topic, services.clock),
        ),
        *notifier_request_routes(
            NotifierRequests(services.alerts, services.records, services.incidents_topic, services.clock)
        ),
        *ack_link_routes(AckPages(services.alerts, services.records, services.incidents_topic, services.clock)),
        *silence_routes(
            Silences(services.alerts, services.database, services.records, services.incidents_topic, services.clock)
        ),
        *badge_routes(Badges(services.database, services.ping_keys, services.clock)),
        *status_page_routes(pages, subscribing),
        *signal_routes(signals),
        *hook_routes(Hooks(services.commands, services.ping_keys, services.clock), UserMetrics(services.database)),
        *live_routes(services.live),
        *job_routes(JobRoutes(services.jobs, services.database, services.job_writer, services.clock)),
        *audit_run_routes(AuditRunRoutes(services.jobs, services.job_writer, services.clock)),
        *saved_view_routes(SavedViewRoutes(services.views, services.records, services.jobs_topic, services.clock)),
        *command_routes(
            CommandOutcomes(services.commands, services.database),
            Batches(services.commands),
            ImportRoutes(importing),
            ImportStream(importing, lambda principal: tokens.is_valid(principal, clock.now_ms()), clock),
        ),
        *token_routes(
            TokenRoutes(tokens, services.records, services.access_topic, clock),
            OperatorRoutes(tokens.operators, services.records, services.access_topic, clock),
        ),
        *login_routes(logins, passwords, oidc_logins),
        *system_routes(system, Inspecting(services.looks, services.clock)),
        *console_routes(ConsoleRoutes(services.console)),
    ]
    logins.describe(found)
    return found
