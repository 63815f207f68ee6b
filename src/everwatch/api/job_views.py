"""Requests and answers about bulk jobs, as types."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.api.queries import FacetsQuery
from everwatch.api.views import Instant
from everwatch.core.bounds import LATEST_MS
from everwatch.encoding.input_models import Name, UserId

MOST_IDS = 1_000
"""Monitors that a job names; more go into several jobs, or to ``/v1/batch``."""


class JobAction(StrEnum):
    """Action on each monitor."""

    PAUSE = "pause"
    RESUME = "resume"
    RUN = "run_now"
    DELETE = "delete"


class JobState(StrEnum):
    """Status of a job."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class JobItem(msgspec.Struct, frozen=True):
    """A monitor that refused a job's command: why, and the command's id."""

    user_id: str
    monitor_id: str
    code: str
    reason: str
    command_id: str


class JobPreviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selection of monitors: the conditions of a list."""

    filter: FacetsQuery = FacetsQuery()


class NamedMonitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monitor that a job names."""

    user_id: UserId
    monitor_id: Name


class JobBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Action of a bulk job, and its monitors: those of ``filter`` or of ``ids``. ``until``: of a pause, ms.

    ``expect_count``: how many there are, as a preview has said; a count that differs by more than 1 % is refused.
    """

    action: JobAction
    expect_count: Annotated[int, Meta(ge=1)]
    filter: FacetsQuery = FacetsQuery()
    until: Annotated[int, Meta(ge=1, le=LATEST_MS)] | None = None
    ids: Annotated[list[NamedMonitor], Meta(max_length=MOST_IDS)] = []


class JobSample(msgspec.Struct, frozen=True):
    """One of the monitors that fit."""

    user_id: str
    monitor_id: str


class JobPreview(msgspec.Struct, frozen=True):
    """Number of monitors that match now, and some of them."""

    count: int
    sample: list[JobSample]


class JobView(msgspec.Struct, frozen=True):
    """A job. ``total``: monitors that fitted when it was made; ``done`` and ``refused``: so far.

    ``by_ids``: it is about monitors that it names, and has no filter.
    """

    job_id: str
    action: JobAction
    filter: FacetsQuery
    state: JobState
    total: int
    done: int
    refused: int
    until: int | None
    created_at: Instant
    created_by: str
    ended_at: Instant
    by_ids: bool = False


class JobList(msgspec.Struct, frozen=True):
    """Jobs, the latest first; of those that ended the newest 1,000, for seven days. The rest is as of any page."""

    items: list[JobView]
    next: str | None = None
    total: int | None = None
    total_at_least: bool = False


class JobErrorsView(msgspec.Struct, frozen=True):
    """Monitors that refused a job's command, by user and monitor: about the first 10,000 of them."""

    items: list[JobItem]
