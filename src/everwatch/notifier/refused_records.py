"""Records that the notifier refuses: into the dead letters, before any offset behind them is stored.

The sink reads transitions and the changelog as well, and refuses what is wrong with them. So the notifier writes
letters of ``incidents``, which it alone reads, and of records of any topic that its database does not take.
"""

from collections.abc import Callable, Iterable, Sequence

from everwatch.core.clock import Clock
from everwatch.core.errors import Unhandled
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record, RefusedRecord
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.notifier.metrics import REFUSED
from everwatch.observability.metrics import POISON

CLOSE_S = 2.0


class RefusedRecords:
    """Writes letters. ``complain`` logs a sentence about a subject, once a minute.

    Each method returns when the letters are durable, and raises BrokerUnavailable if that takes ten minutes,
    AccessError if the notifier may not write them.
    """

    def __init__(self, clients: Clients, topics: Topics, clock: Clock, complain: Callable[[str, str], None]) -> None:
        self._clients = clients
        self._topics = topics
        self._clock = clock
        self._complain = complain
        # made when first needed: most notifiers never refuse a record
        self._outbox: Outbox | None = None
        self._letters: DeadLetters | None = None

    async def bury(self, refused: Iterable[RefusedRecord]) -> None:
        """Take records that are wrong."""
        for record, error in refused:
            REFUSED.inc()
            self._complain("refused", f"{record.topic}, partition {record.partition}, offset {record.offset}: {error}")
            if record.topic == self._topics.incidents:
                self._writer().put(record, error)
        await self._delivered()

    async def bury_poison(self, records: Sequence[Record], cause: Exception) -> None:
        """Take records that are right, as far as is known, and that the database does not take."""
        for record in records:
            POISON.labels(record.topic).inc()
            self._writer().put(record, Unhandled(cause))
        await self._delivered()

    async def bury_unreadable(self, unreadable: Iterable[Unreadable]) -> None:
        """Take batches that cannot be read."""
        for each in unreadable:
            self._complain("unreadable", f"{each.topic}, partition {each.partition}: {each.refusal}")
            if each.topic == self._topics.incidents:
                self._writer().put_unreadable(each)
        await self._delivered()

    async def close(self) -> None:
        """Release the producer."""
        if self._outbox is not None:
            await self._outbox.close(CLOSE_S)

    def _writer(self) -> DeadLetters:
        if self._letters is None:
            self._outbox = Outbox(self._clients.producer())
            self._letters = DeadLetters(self._outbox, self._topics, self._clock, "notifier")
        return self._letters

    async def _delivered(self) -> None:
        if self._outbox is not None:
            await self._outbox.delivered()
