"""Results come back: they change states, and changes of state go out as transitions."""

from collections.abc import Iterable

from everwatch import codec, lifecycle
from everwatch.config import OutputFormat
from everwatch.errors import InvalidInput
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics
from streams.lane import in_turns
from streams.registration import Refusals
from streams.tables import Writer, Writing


class Feedback:
    """Judges monitors by their results, each batch as one durable unit of work.

    A batch in which every monitor stays as it is writes nothing and waits for nothing.
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
        async with self._writer.writing() as work:
            async for few in in_turns(records):
                for record in few:
                    try:
                        self._judge(work, record)
                    except InvalidInput as error:
                        self._refusals.refuse(record, error)
            await work.finish()

    def _judge(self, work: Writing, record: Record) -> None:
        result = codec.decode_result(record.value)
        monitor = work.monitor(record.partition, result.user_id, result.monitor_id)
        if monitor is None:
            return  # deleted while the tick was under way
        after = lifecycle.after_result(monitor, result)
        if after is monitor:
            return
        work.put(record.partition, after)
        transition = lifecycle.transition_between(monitor, after)
        if transition is not None:
            self._outbox.send(
                self._topics.transitions,
                partition=record.partition,
                key=codec.user_key(result.user_id),
                value=codec.encode_transition(transition, self._output_format),
            )
