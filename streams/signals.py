"""Heartbeats: each is remembered in its monitor's record and by the timer that judges the monitor."""

from collections.abc import Iterable

from everwatch import codec, lifecycle
from everwatch.clock import Clock
from everwatch.errors import InvalidInput
from everwatch.kafka.records import Record
from everwatch.model import Monitor
from streams.lane import in_turns
from streams.registration import Refusals
from streams.tables import Writer, Writing

HEARTBEAT = "heartbeat"
# a job's clock may be a little ahead of ours; a heartbeat from further in the future would hide silence
MOST_AHEAD_MS = 60_000


class Signals:
    """Takes batches of signals into state, each batch as one durable unit of work."""

    def __init__(self, writer: Writer, refusals: Refusals, clock: Clock) -> None:
        self._writer = writer
        self._refusals = refusals
        self._clock = clock

    async def take(self, records: Iterable[Record]) -> None:
        """Remember the heartbeats; when this returns, they are durable."""
        async with self._writer.writing() as work:
            async for few in in_turns(records):
                for record in few:
                    try:
                        monitor = self._heard(work, record)
                    except InvalidInput as error:
                        self._refusals.refuse(record, error)
                        continue
                    if monitor is not None:
                        work.put(record.partition, monitor)
            await work.finish()

    def _heard(self, work: Writing, record: Record) -> Monitor | None:
        """The monitor as it is after the signal, None if the signal changes nothing."""
        signal = codec.decode_signal(record.value)
        monitor = work.monitor(record.partition, signal.user_id, signal.monitor_id)
        if monitor is None:
            raise InvalidInput(
                f"there is no monitor {signal.monitor_id!r} of user {signal.user_id!r} on this partition (signals must"
                " be produced with the same key and partitioner as signups)",
                "$.monitor_id",
            )
        if monitor.spec.kind != HEARTBEAT:
            raise InvalidInput(
                f"monitor {signal.monitor_id!r} is of kind {monitor.spec.kind}, which takes no signals", "$.monitor_id"
            )
        at = signal.at or record.timestamp_ms
        now = self._clock.now_ms()
        if at > now + MOST_AHEAD_MS:
            raise InvalidInput(f"the signal is {(at - now) / 1000:g} s in the future", "$.at")
        after = lifecycle.after_signal(monitor, at)
        return None if after is monitor else after
