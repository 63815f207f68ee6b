"""Requests and answers about runs of the tick audit, as types."""

from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.api.job_views import JobState
from everwatch.api.queries import InstantMs, OfUser
from everwatch.api.views import Instant
from everwatch.operations.audit import AuditReport
from everwatch.schedule.duration import DAY_MS


class AuditRunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ticks to audit: due at ``since`` <= t < ``until`` (ms; 0: half a minute ago, as later ones may be under way).

    ``user``: of this one alone. ``late_after_ms``: a tick is late if its first run began later than that.
    """

    since: InstantMs
    until: InstantMs = 0
    user: OfUser = ""
    late_after_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] = 1_000


class AuditRunView(msgspec.Struct, frozen=True):
    """A run. ``results_read``: how far it has come. ``report``: what it found, once it is done.

    ``problem``: why it failed, or what it could not find out. ``clean``: nothing missed and nothing twice.
    """

    run_id: str
    state: JobState
    since: Instant
    until: Instant
    user: str
    late_after_ms: int
    results_read: int
    clean: bool | None
    report: AuditReport | None
    problem: str
    created_at: Instant
    created_by: str
    ended_at: Instant


class AuditRunList(msgspec.Struct, frozen=True):
    """Runs, the latest first; of those that ended the newest, for seven days."""

    items: list[AuditRunView]
