"""Bulk jobs as records of the topic ``jobs``, and as every API process knows them. Pure.

A job is one record, written anew as it goes on; what its monitors refused it for stands in records beside it. The
process that carries it out holds a lease, which each record of it renews. A record of another process counts only if
the lease was over when it was written: whatever two processes write at once, all readers of the topic agree on which of
them goes on.
"""

import logging
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from everwatch.api.job_views import JobAction, JobItem, JobState
from everwatch.api.permissions import Role
from everwatch.api.queries import FacetsQuery
from everwatch.api.saved_views import PREFIX as SAVED_VIEWS
from everwatch.api.used_keys import PREFIX as USED_KEYS
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.kafka.consumed_record import Record
from everwatch.observability.log_throttle import LogThrottle
from everwatch.operations.audit import AuditReport

logger = logging.getLogger(__name__)
LEASE_MS = 30_000
KEPT_MS = 7 * 86_400_000
"""For how long a job that is over is shown."""
MOST_ENDED = 1_000
"""Jobs that are over of which the newest are shown."""
MOST_ERRORS = 10_000
"""Refusals of one job that are kept: every API process holds them. The page that reaches it is kept whole."""


class BulkJob(msgspec.Struct, frozen=True, tag="job"):
    """A job, and how far it has come. Instants in ms.

    ``user_id``: the one user that its token is limited to, None for all. ``total``: monitors that fitted when it was
    made. ``cursor``: behind the last monitor that was dealt with; ``done`` and ``refused``: how many were.
    ``owner`` and ``lease_until``: the process that carries it out, "" for none. ``written_at``: when this record was
    made.
    """

    job_id: str
    action: JobAction
    filter: FacetsQuery
    created_at: int
    token_id: str
    token_name: str
    role: Role
    address: str
    user_id: str | None
    total: int
    until: int | None = None
    state: JobState = JobState.RUNNING
    cursor: str = ""
    done: int = 0
    refused: int = 0
    problem: str = ""
    owner: str = ""
    lease_until: int = 0
    written_at: int = 0
    ended_at: int = 0


class NamedJob(BulkJob, frozen=True, tag="named_job"):
    """A job about the monitors that it names; its cursor is the place in them.

    It is another kind of record, because a process that knows of no names would take such a job for one about all.
    """

    ids: tuple[tuple[str, str], ...] = ()


class JobErrors(msgspec.Struct, frozen=True, tag="errors"):
    """Monitors of one page of a job that refused its command; ``page``: the cursor that the page began at, hashed."""

    job_id: str
    page: str
    items: list[JobItem]


class AuditRun(msgspec.Struct, frozen=True, tag="audit"):
    """A run of the tick audit, with its lease. ``report``: what it found, None while it goes on. Instants in ms."""

    run_id: str
    since: int
    until: int
    user: str
    late_after_ms: int
    created_at: int
    token_id: str
    token_name: str
    state: JobState = JobState.RUNNING
    results_read: int = 0
    report: AuditReport | None = None
    problem: str = ""
    owner: str = ""
    lease_until: int = 0
    written_at: int = 0
    ended_at: int = 0


JobRecord = BulkJob | NamedJob | JobErrors | AuditRun
AUDIT_RUNS = "audit:"
"""Prefix of the keys of the audit's runs."""
_decoder: msgspec.json.Decoder[JobRecord] = msgspec.json.Decoder(JobRecord)


def key_of(record: JobRecord) -> bytes:
    """Return a record's key on the topic."""
    match record:
        case BulkJob():
            return record.job_id.encode()
        case AuditRun():
            return f"{AUDIT_RUNS}{record.run_id}".encode()
        case _:
            return f"{record.job_id}/{record.page}".encode()


def encoded(record: JobRecord) -> bytes:
    """Return a record's value."""
    return msgspec.json.encode(record)


def job_id_of(request_key: str, principal_user: str) -> str:
    """Return the id of the job that a request with this Idempotency-Key makes: the same one when it is sent again.

    ``principal_user``: the one user that its token is limited to, "" for all; users' keys may be the same.
    """
    return blake2b(f"{principal_user}\0{request_key}".encode(), digest_size=16).hexdigest()


def page_name(cursor: str) -> str:
    """Return the name of the page behind a cursor: the same one when it is read once more."""
    return blake2b(cursor.encode(), digest_size=8).hexdigest()


def command_id_of(job_id: str, user_id: str, monitor_id: str) -> str:
    """Return the id of a job's command for a monitor: the same one when it is sent once more."""
    key = f"{user_id}\0{monitor_id}".encode()
    return f"job-{job_id}-{blake2b(key, digest_size=12).hexdigest()}"


class Jobs:
    """The jobs of the topic; taken in by the follower's thread, one step at a time."""

    def __init__(self, clock: Clock) -> None:
        self._log_throttle = LogThrottle(clock)
        self._jobs: dict[str, BulkJob] = {}
        self._audit_runs: dict[str, AuditRun] = {}
        # by job, then by page
        self._errors: dict[str, dict[str, list[JobItem]]] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Take in records of the topic; one that is wrong is logged and passed over."""
        for record in records:
            key = record.key or b""
            if key.startswith((SAVED_VIEWS, USED_KEYS)):
                continue
            if record.value is None:
                self._forget(key.decode(errors="replace"))
                continue
            try:
                found = _decoder.decode(record.value)
                if key_of(found) != key:
                    raise InvalidInput("its key is another one than that of what it holds")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidInput) as error:
                if self._log_throttle.may_log("record"):
                    logger.warning(
                        "%s, partition %d, offset %d: %s", record.topic, record.partition, record.offset, error
                    )
                continue
            self._put(found)

    def get(self, job_id: str) -> BulkJob | None:
        """Return a job by its id."""
        return self._jobs.get(job_id)

    def all(self) -> list[BulkJob]:
        """Return all jobs, the latest first."""
        return sorted(self._jobs.copy().values(), key=lambda job: (-job.created_at, job.job_id))

    def audit_run(self, run_id: str) -> AuditRun | None:
        """Return a run of the audit by its id."""
        return self._audit_runs.get(run_id)

    def audit_runs(self) -> list[AuditRun]:
        """Return all runs of the audit, the latest first."""
        return sorted(self._audit_runs.copy().values(), key=lambda run: (-run.created_at, run.run_id))

    def held(self, record: BulkJob | AuditRun) -> BulkJob | AuditRun | None:
        """Return the job or run of a record, as this process has it."""
        return self.get(record.job_id) if isinstance(record, BulkJob) else self.audit_run(record.run_id)

    def errors(self, job_id: str) -> list[JobItem]:
        """Return the monitors that refused a job's command, by user and monitor."""
        pages: Iterable[list[JobItem]] = self._errors.get(job_id, {}).copy().values()
        return sorted((item for page in pages for item in page), key=lambda item: (item.user_id, item.monitor_id))

    def error_keys(self, job_id: str) -> list[bytes]:
        """Return the keys of the records that hold a job's refusals."""
        return [f"{job_id}/{page}".encode() for page in self._errors.get(job_id, {}).copy()]

    def _put(self, record: JobRecord) -> None:
        if isinstance(record, JobErrors):
            self._errors.setdefault(record.job_id, {})[record.page] = record.items
            return
        held = self.held(record)
        if held is not None and not is_taken(held, record):
            return
        if isinstance(record, AuditRun):
            self._audit_runs[record.run_id] = record
        else:
            self._jobs[record.job_id] = record

    def _forget(self, key: str) -> None:
        if key.startswith(AUDIT_RUNS):
            self._audit_runs.pop(key.removeprefix(AUDIT_RUNS), None)
            return
        job_id, _, page = key.partition("/")
        if page:
            self._errors.get(job_id, {}).pop(page, None)
        else:
            self._jobs.pop(job_id, None)
            self._errors.pop(job_id, None)


def is_taken(held: BulkJob | AuditRun, record: BulkJob | AuditRun) -> bool:
    """Tell whether a record takes the place of the one before it."""
    if held.state is not JobState.RUNNING:
        return False
    # a cancellation applies to every process
    is_cancellation = record.state is JobState.CANCELLED
    return is_cancellation or record.owner == held.owner or record.written_at >= held.lease_until
