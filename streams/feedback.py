"""Results come back: they change states, and changes of state go out as transitions."""

from collections.abc import Iterable

from everwatch import codec, entries, lifecycle
from everwatch.config import OutputFormat
from everwatch.errors import InvalidInput
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics
from everwatch.model import Monitor, Status
from streams.lane import in_turns
from streams.registration import Refusals
from streams.tables import Writer, Writing

Judged = tuple[Record, bytes, Status]


class Feedback:
    """Judges monitors by their results, each batch as one durable unit of work.

    A batch in which every monitor stays as it is writes nothing and waits for nothing; of a result that changes nothing
    only the status is read.
    """

    def __init__(
        self, writer: Writer, outbox: Outbox, refusals: Refusals, topics: Topics, output_format: OutputFormat
    ) -> None:
        self._writer = writer
        self._outbox = outbox
        self._refusals = refusals
        self._topics = topics
        self._output_format = output_format

    async def judge(self, records: Iterable[Record]) -> None:
        """Bring states to what the results say; when this returns, it is durable."""
        judged: dict[int, list[Judged]] = {}
        async for few in in_turns(records):
            for record in few:
                try:
                    judged.setdefault(record.partition, []).append((record, *_verdict(record)))
                except InvalidInput as error:
                    self._refusals.refuse(record, error)
        async with self._writer.writing() as work:
            for number, some in judged.items():
                work.look_up(number, list({key for _, key, _ in some}))
                async for turn in in_turns(some):
                    for record, key, status in turn:
                        value = work.value(number, key)
                        # None: deleted while the tick was under way
                        if value is not None and not entries.stays_as_it_is(value, status):
                            self._change(work, record, key, value)
            await work.finish()

    def _change(self, work: Writing, record: Record, key: bytes, value: bytes) -> None:
        try:
            result = codec.decode_result(record.value)
        except InvalidInput as error:
            self._refusals.refuse(record, error)
            return
        monitor = codec.decode_entry(key, value)
        assert isinstance(monitor, Monitor)  # a result names a monitor
        after = lifecycle.after_result(monitor, result)
        if after is monitor:
            return
        work.add(record.partition, key, after)
        transition = lifecycle.transition_between(monitor, after)
        if transition is not None:
            self._outbox.send(
                self._topics.transitions,
                partition=record.partition,
                key=codec.user_key(result.user_id),
                value=codec.encode_transition(transition, self._output_format),
            )


def _verdict(record: Record) -> tuple[bytes, Status]:
    """Table key and status of a result. Raises InvalidInput."""
    verdict = entries.read_verdict(record.value) if record.value else None
    if verdict is not None and verdict[1]:
        return verdict[0] + codec.SEPARATOR + verdict[1], verdict[2]
    result = codec.decode_result(record.value)
    if not result.monitor_id:
        raise InvalidInput("a result names its monitor", "$.monitor_id")
    return codec.table_key(result.user_id, result.monitor_id), result.status
