"""Records of ``trials`` and ``trial-results``: a check that runs once, on an executor, and is stored nowhere.

The key of both is the trial's id; the values are JSON. Pure.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from everwatch.core.errors import InvalidInput
from everwatch.model import Status

LONGEST_TRIAL_MS = 30_000
"""The longest timeout of a trial: a person waits for it."""
GRACE_MS = 5_000
"""For how much longer than the timeout an outcome is waited for: until an executor is free, and on the way."""

Record = TypeVar("Record", bound=msgspec.Struct)
Id = Annotated[str, Meta(min_length=1, max_length=64)]


class TrialRequest(msgspec.Struct, frozen=True):
    """A check to run once. ``config`` and ``payload`` are JSON, with secrets encrypted where the API has the key.

    ``expires_at``: its client stops waiting then, ms.
    """

    trial_id: Id
    kind: Annotated[str, Meta(max_length=128)]
    config: str
    timeout_ms: Annotated[int, Meta(ge=1, le=LONGEST_TRIAL_MS)]
    expires_at: int
    payload: str = ""


class TrialOutcome(msgspec.Struct, frozen=True):
    """Outcome of a trial. ``executor``: the one that ran it. ``started_at``: ms."""

    trial_id: Id
    status: Status
    reason: str
    started_at: int
    duration_ms: float
    timings: dict[str, float] = {}
    detail: str = ""
    executor: str = ""


def encode_trial(record: TrialRequest | TrialOutcome) -> tuple[bytes, bytes]:
    """Return key and value of a record."""
    return record.trial_id.encode(), msgspec.json.encode(record)


def decode_trial(value: bytes | None, kind: type[Record]) -> Record:
    """Decode a record of one of the two topics. Raises InvalidInput."""
    try:
        return msgspec.json.decode(value or b"", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a trial: {error}") from None
