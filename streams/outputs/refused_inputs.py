"""Refused inputs: written to the dead letters, with a reply, once the records of their batch are handled."""

from collections import defaultdict
from collections.abc import Iterable

from everwatch.core.errors import InvalidInput
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.unreadable_batches import Unreadable
from streams.outputs.replies import Replies


class RefusedInputs:
    """Refused inputs of batches under way, held until the batch is handled: a retry refuses nothing twice.

    A topic's records are handled by one handler at a time. A handler may refuse a record for what another record of
    its batch has changed; should the batch fail, neither counts, and both are handled again.
    """

    def __init__(self, dead_letters: DeadLetters, replies: Replies, outbox: Outbox) -> None:
        self._dead_letters = dead_letters
        self._replies = replies
        self._outbox = outbox
        self._held: defaultdict[str, list[tuple[Record, InvalidInput, bool]]] = defaultdict(list)

    def refuse(self, source: Record, error: InvalidInput, *, has_reply: bool = False) -> None:
        """Refuse an input: it counts once ``write_letters`` is called. ``has_reply``: the caller sends the reply."""
        self._held[source.topic].append((source, error, has_reply))

    def forget(self, topic: str) -> None:
        """Forget the refused records of a topic: its records are handled again."""
        self._held.pop(topic, None)

    async def write_unreadable(self, unreadable: Iterable[Unreadable]) -> None:
        """Write a dead letter for each batch that was passed over; they are durable then. Raises BrokerUnavailable."""
        for each in unreadable:
            self._dead_letters.put_unreadable(each)
        await self._outbox.delivered()

    async def write_letters(self, topic: str) -> None:
        """Write dead letters and replies of a topic's refused records. Raises BrokerUnavailable."""
        refused = self._held.pop(topic, None)
        if not refused:
            return
        for source, error, has_reply in refused:
            self._dead_letters.put(source, error)
            if not has_reply:
                self._replies.refuse(source, error)
        await self._outbox.delivered()
