"""Cancellations for executors, which may hold ticks of monitors that are paused or deleted meanwhile.

The cancellations of a unit of work are committed in one transaction with its changes. A record that came before could
drop ticks of a monitor that is not cancelled, and one that came after it could be lost, if the worker is killed in
between.
"""

from collections.abc import Iterator

from everwatch.encoding.cancellation_records import Cancellation, encode_cancellation
from everwatch.model import At, State
from everwatch.rules.registration_rules import Change, Changes
from everwatch.schedule.at import due_instant


def cancellations_of(
    user_id: str, changes: Changes, emitted_to: int, *, whole_user: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    """Yield records for the topic ``cancellations``; ticks of the monitors are emitted up to ``emitted_to`` (ms).

    ``whole_user``: all of its monitors go, so one record will do.
    """
    if whole_user or changes.user_ended:
        yield encode_cancellation((user_id, ""), Cancellation(emitted_to, is_deleted=True))
        return
    for change in changes.monitors:
        cancellation = cancellation_of(change, emitted_to)
        if cancellation is not None:
            assert change.before is not None  # a monitor that did not exist has no ticks to cancel
            yield encode_cancellation((user_id, change.before.monitor_id), cancellation)


def cancellation_of(change: Change, emitted_to: int) -> Cancellation | None:
    """Return the cancellation for ticks emitted up to ``emitted_to`` that a change needs; None if it needs none.

    A delayed task that has fired runs although it is paused meanwhile: it is due only once.
    """
    before, after = change.before, change.after
    if before is None:
        return None
    schedule = before.spec.schedule
    if after is None:
        is_to_fire = isinstance(schedule, At) and due_instant(schedule, before.since) > emitted_to
        return None if is_to_fire else Cancellation(emitted_to, is_deleted=True)
    pauses = after.state is State.PAUSED and before.state is not State.PAUSED
    return Cancellation(emitted_to) if pauses and not isinstance(schedule, At) else None
