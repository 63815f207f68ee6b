"""Bodies of requests, as types: servers validate with them, clients write with them."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from everwatch.api.queries import FilterText, InstantMs, OfUser
from everwatch.encoding.field_paths import FIELD_PATH
from everwatch.encoding.input_models import (
    LONGEST_SIGNAL_BODY,
    MOST_MONITORS_PER_SIGNUP,
    Attribute,
    Contacts,
    Duration,
    Instant,
    Labels,
    MonitorId,
    MonitorInput,
    Name,
    PolicyInput,
    Reason,
    RunId,
    UserId,
    Windows,
)
from everwatch.model import SignalType

MOST_SIGNALS = 1_000
MOST_REDRIVEN = 1_000
"""Dead letters that one request sends back."""
MOST_EDITS = 50
"""Fields that one request sets in dead letters."""
FieldPath = Annotated[str, Meta(max_length=512, pattern=FIELD_PATH)]
LetterPlace = Annotated[str, Meta(max_length=32, pattern=r"^[0-9]{1,9}/[0-9]{1,18}\Z")]


class UserBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signup: it states the whole registration, and replaces what an earlier one stated."""

    plan: Name = "default"
    attributes: dict[str, Attribute] = {}
    monitors: Annotated[list[MonitorInput], msgspec.Meta(max_length=MOST_MONITORS_PER_SIGNUP)] = []
    maintenance: Windows = []
    contacts: Contacts = {}


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of a user; all other fields stay."""

    plan: Name | None = None
    attributes: dict[str, Attribute] = {}
    remove_attributes: list[str] = []
    contacts: Contacts = {}


class PauseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``until``: when the pause is over, ms or ISO 8601 with its offset; null: it has no end."""

    until: Instant | None = None


class MonitorPauseBody(PauseBody, frozen=True, forbid_unknown_fields=True):
    """``reason``: why, for people; the monitor's state and history show it."""

    reason: Reason = ""


class MonitorMaintenanceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``until``: when the maintenance is over, ms or ISO 8601 with its offset; ``reason``: why, for people."""

    until: Instant
    reason: Reason = ""


class MaintenanceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The maintenance windows, in place of those there were."""

    maintenance: Windows


class TaskBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """A task to run once: at an instant (``at``) or after a delay (``in``). ``task_id`` "": it gets a new one."""

    kind: Name
    task_id: MonitorId = ""
    at: Instant | None = None
    in_: Duration | None = None
    config: dict[str, Any] = {}
    policy: PolicyInput = PolicyInput()
    payload: Any = None
    name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    labels: Labels = {}


class SignalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signal: that a job is alive and well (``success``), begins, fails, or a value that was measured.

    ``at``: when, ms; 0: now. ``body``: what the job printed, kept with the monitor; of a ``log`` that is all.
    """

    user_id: UserId
    monitor_id: Name
    at: Annotated[int, Meta(ge=0)] = 0
    type: SignalType = SignalType.SUCCESS
    exit_code: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    value: float | None = None
    run: RunId = ""
    body: Annotated[str, Meta(max_length=LONGEST_SIGNAL_BODY)] = ""


class SignalsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signals, at most a thousand."""

    signals: Annotated[list[SignalBody], Meta(min_length=1, max_length=MOST_SIGNALS)]


class RedriveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"set_": "set"}):
    """Selection of dead letters to send back: by name (PARTITION/OFFSET), by a filter, or ``everything``.

    ``source``: a topic's name; ``reason``: a part of it; ``since``: refused from then on, ms. ``again``: also those
    that were redriven before, or were refused after a redrive. ``dry_run``: send nothing, and say what would be sent.
    ``set``: new values of fields, by their paths as in ``path`` of a dead letter, and ``remove``: paths of fields that
    are left out, in each of the records. One that is still wrong with them is not sent.
    """

    letters: Annotated[list[LetterPlace], Meta(max_length=MOST_REDRIVEN)] = []
    source: FilterText = ""
    user: OfUser = ""
    reason: FilterText = ""
    code: FilterText = ""
    since: InstantMs = 0
    everything: bool = False
    again: bool = False
    dry_run: bool = False
    set_: Annotated[dict[FieldPath, Any], Meta(max_length=MOST_EDITS)] = {}
    remove: Annotated[list[FieldPath], Meta(max_length=MOST_EDITS)] = []
