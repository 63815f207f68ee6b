"""Sender of the notes that tell an executor that was stopped on purpose from one that was killed or frozen."""

from zlib import crc32

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.encoding.presence_notes import PresenceNote, encode_note
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics


class Presence:
    """Notes of one executor. A note that is lost is followed by another one."""

    def __init__(self, settings: Settings, outbox: Outbox, clock: Clock, executor_id: str) -> None:
        self._topic = Topics.of(settings).trial_results
        self._partition = crc32(executor_id.encode()) % settings.partitions
        self._outbox = outbox
        self._clock = clock
        self._executor_id = executor_id
        self._began_at = clock.now_ms()

    async def note(self) -> None:
        """Note that the executor is at work; to be called every ``presence_notes.NOTED_EVERY_S`` seconds."""
        self._send(left=False)

    def leave(self) -> None:
        """Note that the executor ends because it was asked to; the outbox delivers it with the last results."""
        self._send(left=True)

    def _send(self, *, left: bool) -> None:
        note = PresenceNote(self._executor_id, self._began_at, self._clock.now_ms(), left)
        key, value = encode_note(note)
        self._outbox.send(self._topic, partition=self._partition, key=key, value=value, may_be_lost=True)
