"""Monitors that are paused or deleted, users that are deregistered: executors are told, as they hold their ticks."""

from everwatch.cancellation import Cancellation, Key, encode_cancellation
from everwatch.catalogue import Change, Changes
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.model import At, State
from everwatch.schedule.at import due_instant


class Cancellations:
    """Puts on the topic ``cancellations`` what a unit of work ends, as part of that unit of work."""

    def __init__(self, outbox: Outbox, topics: Topics) -> None:
        self._outbox = outbox
        self._topic = topics.cancellations

    def tell(self, partition: int, user_id: str, changes: Changes, settled: int, *, whole_user: bool = False) -> None:
        """Send what ``changes`` end, of which ticks are emitted up to ``settled`` (ms).

        ``whole_user``: all of its monitors go, so one record will do.
        """
        if whole_user or changes.user_ended:
            self._send(partition, (user_id, ""), Cancellation(settled, is_deleted=True))
            return
        for change in changes.monitors:
            cancellation = cancellation_of(change, settled)
            if cancellation is not None:
                assert change.before is not None  # of one that was not there nothing ends
                self._send(partition, (user_id, change.before.monitor_id), cancellation)

    def _send(self, partition: int, key: Key, cancellation: Cancellation) -> None:
        record_key, value = encode_cancellation(key, cancellation)
        self._outbox.send(self._topic, partition=partition, key=record_key, value=value)


def cancellation_of(change: Change, settled: int) -> Cancellation | None:
    """What a change cancels of the ticks that are emitted up to ``settled``; None if nothing.

    A delayed task that has fired runs although it is paused meanwhile: it is due only once.
    """
    before, after = change.before, change.after
    if before is None:
        return None
    schedule = before.spec.schedule
    if after is None:
        is_to_fire = isinstance(schedule, At) and due_instant(schedule, before.since) > settled
        return None if is_to_fire else Cancellation(settled, is_deleted=True)
    pauses = after.state is State.PAUSED and before.state is not State.PAUSED
    return Cancellation(settled) if pauses and not isinstance(schedule, At) else None
