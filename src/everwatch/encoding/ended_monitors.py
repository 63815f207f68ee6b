"""The outcome of a monitor that is done, in records of versions that wrote it before the reason."""

import msgspec

from everwatch.model import State, Status, Transition

_STATUSES = {status.value: status for status in Status}


def split_outcome(state: State, reason: str) -> tuple[Status | None, str]:
    """The outcome and the reason in a ``reason`` such as "failure: connection refused".

    A state other than done has no outcome. A reason without a status before it has none either: the run was a success.
    """
    how, _, why = reason.partition(": ")
    outcome = _STATUSES.get(how) if state is State.DONE else None
    return (None, reason) if outcome is None else (outcome, why)


def with_outcome(transition: Transition) -> Transition:
    """The transition with its outcome as a field, whichever version wrote it."""
    if transition.to_state is not State.DONE or transition.outcome is not None:
        return transition
    outcome, reason = split_outcome(transition.to_state, transition.reason)
    return msgspec.structs.replace(transition, outcome=outcome, reason=reason)
