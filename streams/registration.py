"""Signups and commands: what they change in the table, the timetable and the states of monitors."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack

from everwatch import codec
from everwatch.admission import admit_command, admit_signup
from everwatch.catalogue import Changes, carry_out, sign_up
from everwatch.clock import Clock
from everwatch.config import OutputFormat
from everwatch.errors import InvalidInput
from everwatch.kafka.dead_letters import refusal_headers
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics
from everwatch.model import Command, CommandType, Monitor, Signup
from streams.lane import in_turns
from streams.partitions import Partition, Partitions, Planner
from streams.tables import Writer, Writing

Admit = Callable[[bytes | None], Signup | Command]


class Refusals:
    """Puts what is refused on the topic ``dead-letters``: original key and bytes, and the reason in headers."""

    def __init__(self, outbox: Outbox, topics: Topics, clock: Clock) -> None:
        self._outbox = outbox
        self._topic = topics.dead_letters
        self._clock = clock

    def refuse(self, source: Record, error: InvalidInput) -> None:
        """Keep a refused input."""
        headers = refusal_headers(
            error,
            topic=source.topic,
            partition=source.partition,
            offset=source.offset,
            refused_at=self._clock.now_ms(),
        )
        self._outbox.send(self._topic, partition=source.partition, key=source.key, value=source.value, headers=headers)


class Registration:
    """Carries out signups and commands, a batch as one durable unit of work."""

    def __init__(
        self,
        partitions: Partitions,
        planner: Planner,
        writer: Writer,
        outbox: Outbox,
        refusals: Refusals,
        topics: Topics,
        clock: Clock,
        output_format: OutputFormat,
    ) -> None:
        self._partitions = partitions
        self._planner = planner
        self._writer = writer
        self._outbox = outbox
        self._refusals = refusals
        self._topics = topics
        self._clock = clock
        self._output_format = output_format

    async def sign_up(self, records: Iterable[Record]) -> None:
        """Register users; when this returns, all of it is durable and in the timetable."""
        await self._carry_out(records, admit_signup)

    async def command(self, records: Iterable[Record]) -> None:
        """Carry out commands; when this returns, all of it is durable and in the timetable."""
        await self._carry_out(records, admit_command)

    async def _carry_out(self, records: Iterable[Record], admit: Admit) -> None:
        admitted = [pair async for pair in self._admitted(records, admit)]
        touched = {source.partition for source, _ in admitted} & self._partitions.owned
        held = [self._partitions[number] for number in sorted(touched)]
        async with self._writer.writing() as work, AsyncExitStack() as standstill:
            # sweeps stand still while existing monitors change, so that `emitted_to` is the instant between a
            # monitor's old and its new spec; new monitors come after every sweep anyway
            for partition in held:
                await standstill.enter_async_context(partition.turn)
            done: list[tuple[int, Changes]] = []
            async for source, wanted in in_turns(admitted):
                changes = self._changes(work, source, wanted)
                if changes is not None:
                    done.append((source.partition, changes))
            await work.finish()
            for number, changes in done:
                self._replan(self._partitions.get(number), changes)

    async def _admitted(
        self, records: Iterable[Record], admit: Admit
    ) -> AsyncIterator[tuple[Record, Signup | Command]]:
        async for source in in_turns(records):
            try:
                wanted = admit(source.value)
                if source.key is not None and source.key != codec.user_key(wanted.user_id):
                    raise InvalidInput(
                        "the record's key is not the user_id: key records by user_id, or the user's records lose"
                        " their order",
                        "$.user_id",
                    )
            except InvalidInput as error:
                self._refusals.refuse(source, error)
            else:
                yield source, wanted

    def _changes(self, work: Writing, source: Record, wanted: Signup | Command) -> Changes | None:
        partition = self._partitions.get(source.partition)
        now = self._clock.now_ms()
        settled = partition.emitted_to if partition else now
        user = work.user(source.partition, wanted.user_id)
        try:
            if isinstance(wanted, Signup):
                named = [spec.monitor_id for spec in wanted.monitors] + list(user.monitor_ids if user else ())
                monitors = self._monitors(work, source.partition, wanted.user_id, named)
                changes = sign_up(wanted, user, monitors, max(now, settled), settled)
            else:
                if wanted.command is CommandType.DEREGISTER:
                    monitors = {m.monitor_id: m for m in work.monitors_of(source.partition, wanted.user_id)}
                else:
                    monitors = self._monitors(work, source.partition, wanted.user_id, [wanted.monitor_id])
                changes = carry_out(wanted, user, monitors, max(now, settled), settled)
        except InvalidInput as error:
            self._refusals.refuse(source, error)
            return None
        self._write(work, source.partition, wanted.user_id, changes, settled)
        return changes

    def _monitors(self, work: Writing, partition: int, user_id: str, monitor_ids: Iterable[str]) -> dict[str, Monitor]:
        found = {monitor_id: work.monitor(partition, user_id, monitor_id) for monitor_id in monitor_ids}
        return {monitor_id: monitor for monitor_id, monitor in found.items() if monitor is not None}

    def _write(self, work: Writing, partition: int, user_id: str, changes: Changes, settled: int) -> None:
        if changes.user is not None:
            work.put(partition, changes.user)
        if changes.user_ended:
            work.delete(partition, user_id, at=settled)
        for change in changes.monitors:
            if change.after is None:
                assert change.before is not None  # a change from nothing to nothing is none
                work.delete(partition, user_id, change.before.monitor_id, at=settled)
            else:
                work.put(partition, change.after)
            if change.transition is not None:
                self._outbox.send(
                    self._topics.transitions,
                    partition=partition,
                    key=codec.user_key(user_id),
                    value=codec.encode_transition(change.transition, self._output_format),
                )

    def _replan(self, partition: Partition | None, changes: Changes) -> None:
        if partition is not None:
            for change in changes.monitors:
                self._planner.plan(partition, change.before, change.after)
