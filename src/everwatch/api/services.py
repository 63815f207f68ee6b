"""Parts that handlers use: the real ones in a process, fakes in tests."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from everwatch.api.alerting import NotifierDatabase
from everwatch.api.auditing import AuditLog
from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.explaining import Owners
from everwatch.api.inspecting import Looks
from everwatch.api.job_records import Jobs
from everwatch.api.job_writing import JobWriter
from everwatch.api.letters import Redriving
from everwatch.api.live import Live
from everwatch.api.login_routes import OidcLogin
from everwatch.api.logins import Logins
from everwatch.api.passwords import is_password
from everwatch.api.pinging import PingKeys
from everwatch.api.saved_views import SavedViews
from everwatch.api.token_routes import RecordSender
from everwatch.api.tokens import Tokens
from everwatch.api.used_keys import UsedKeys
from everwatch.console.files import ConsoleFiles
from everwatch.core.clock import Clock
from everwatch.diagnosis import Finding
from everwatch.kafka.lag import Lag
from everwatch.kafka.trials import TrialRuns
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.plans.plan import Plans


class Services(NamedTuple):
    """The parts of an API process. ``not_ready``: why it is not ready, by part; ``access_topic``: where tokens are."""

    clock: Clock
    database: Database
    commands: Commands
    tokens: Tokens
    logins: Logins
    ping_keys: PingKeys
    secrets: ConfigSecrets
    records: RecordSender
    access_topic: str
    measure_lag: Callable[[], Lag]
    owners: Owners
    diagnose: Callable[[], Sequence[Finding]]
    plans: Callable[[], Plans | None]
    not_ready: Callable[[], dict[str, str]]
    live: Live
    console: ConsoleFiles
    alerts: NotifierDatabase
    audit: AuditLog
    redrive: Redriving
    jobs: Jobs
    job_writer: JobWriter
    incidents_topic: str
    trials: TrialRuns
    status_pages: StatusPagesFile
    oidc: OidcLogin
    oidc_session_ms: int
    views: SavedViews
    jobs_topic: str
    used_keys: UsedKeys
    looks: Looks
    is_password: Callable[[str, str], bool] = is_password
