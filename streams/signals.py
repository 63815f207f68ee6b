"""Heartbeats: each is remembered in its monitor's table entry, where the timer looks when the monitor is due."""

from collections.abc import Iterable

from everwatch import codec, entries, lifecycle
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
Heard = tuple[Record, bytes, int]


class Signals:
    """Takes batches of signals into state, each batch as one durable unit of work."""

    def __init__(self, writer: Writer, refusals: Refusals, clock: Clock) -> None:
        self._writer = writer
        self._refusals = refusals
        self._clock = clock

    async def take(self, records: Iterable[Record]) -> None:
        """Remember the heartbeats; when this returns, they are durable."""
        heard: dict[int, list[Heard]] = {}
        async for few in in_turns(records):
            latest = self._clock.now_ms() + MOST_AHEAD_MS
            for record in few:
                try:
                    signal = codec.decode_signal(record.value)
                    at = signal.at or record.timestamp_ms
                    if at > latest:
                        ahead_s = (at - latest + MOST_AHEAD_MS) / 1000
                        raise InvalidInput(f"the signal is {ahead_s:g} s in the future", "$.at")
                except InvalidInput as error:
                    self._refusals.refuse(record, error)
                else:
                    key = codec.table_key(signal.user_id, signal.monitor_id)
                    heard.setdefault(record.partition, []).append((record, key, at))
        async with self._writer.writing() as work:
            for number, some in heard.items():
                await self._take(work, number, some)
            await work.finish()

    async def _take(self, work: Writing, number: int, heard: list[Heard]) -> None:
        newest: dict[bytes, int] = {}
        for _, key, at in heard:
            if at > newest.get(key, -1):
                newest[key] = at
        values = work.read(number, list(newest))
        wrong: dict[bytes, InvalidInput] = {}
        async for few in in_turns(zip(newest.items(), values, strict=True)):
            for (key, at), value in few:
                try:
                    after = _after(key, value, at)
                except InvalidInput as error:
                    wrong[key] = error
                else:
                    if after is not None:
                        work.add_value(number, key, after)
        work.send(number)
        if wrong:
            for record, key, _ in heard:
                if key in wrong:
                    self._refusals.refuse(record, wrong[key])


def _after(key: bytes, value: bytes | None, at: int) -> bytes | None:
    """The monitor's entry after a signal at ``at``, None if the signal changes nothing. Raises InvalidInput."""
    if value is None:
        user_id, monitor_id = codec.split_key(key)
        raise InvalidInput(
            f"there is no monitor {monitor_id!r} of user {user_id!r} on this partition (signals must be produced with"
            " the same key and partitioner as signups)",
            "$.monitor_id",
        )
    if entries.takes_signals(value):
        return entries.with_signal(value, at)
    monitor = codec.decode_entry(key, value)
    assert isinstance(monitor, Monitor)  # a signal names a monitor
    if monitor.spec.kind != HEARTBEAT:
        raise InvalidInput(
            f"monitor {monitor.monitor_id!r} is of kind {monitor.spec.kind}, which takes no signals", "$.monitor_id"
        )
    after = lifecycle.after_signal(monitor, at)
    return None if after is monitor else codec.encode_entry(after)
