"""Replies to commands, signups and signals that have an id."""

from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.encoding.askers import asker_of
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.model import Asker, CommandOutcome, Reply


class Replies:
    """Sends replies through the outbox, to the topic ``replies``.

    The caller waits for their delivery before it acknowledges the input.
    """

    def __init__(self, outbox: Outbox, topics: Topics, clock: Clock, output_format: OutputFormat) -> None:
        self._outbox = outbox
        self._topic = topics.replies
        self._names = {topics.signups: "signup", topics.commands: "command", topics.signals: "signal"}
        self._clock = clock
        self._output_format = output_format

    def send(
        self,
        number: int,
        asker: Asker,
        outcome: CommandOutcome,
        version: int = 0,
        error: InvalidInput | None = None,
        *,
        offset: int = -1,
    ) -> None:
        """Reply to an input, if a reply is asked for; ``error``: why it was refused.

        ``offset``: of the last record of the partition's changelog that the reply includes.
        """
        if asker.wants(outcome):
            self._put(number, asker, outcome, version, error, offset)

    def refuse(self, source: Record, error: InvalidInput) -> None:
        """Reply to a refused input, if its id and its user can be read."""
        name = self._names.get(source.topic)
        asker = asker_of(name, source.value) if name and source.value else None
        if asker is not None:
            self._put(source.partition, asker, CommandOutcome.REFUSED, 0, error, -1)

    def _put(
        self,
        number: int,
        asker: Asker,
        outcome: CommandOutcome,
        version: int,
        error: InvalidInput | None,
        offset: int,
    ) -> None:
        reply = Reply(
            command_id=asker.command_id,
            user_id=asker.user_id,
            monitor_id=asker.monitor_id,
            command=asker.command,
            answer=outcome,
            reason=error.reason if error else "",
            path=error.path if error else "",
            version=version,
            at=self._clock.now_ms(),
            code=error.code if error else "",
            signup_id=asker.signup_id,
            signal_id=asker.signal_id,
            partition=number if offset >= 0 else -1,
            offset=offset,
        )
        self._outbox.send(
            self._topic,
            partition=number,
            key=codec.user_key(asker.user_id),
            value=codec.encode_reply(reply, self._output_format),
        )
