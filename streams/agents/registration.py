"""Signups and commands: a batch of them as units of work."""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import islice

from everwatch.core.clock import Clock
from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput
from everwatch.kafka.consumed_record import Record
from everwatch.model import Command, CommandType, Monitor, Signup
from everwatch.plans.plan import Plans
from everwatch.rules.registration_rules import (
    Change,
    Changes,
    changed_with_user,
    is_pending_task,
)
from streams.agents.input_admission import Admitted, InputAdmission, by_partition, slices
from streams.agents.monitor_changes import MonitorChanges, PendingReply, is_for_many
from streams.agents.newcomers import Newcomers
from streams.outputs.all_outputs import Outputs
from streams.state.owned_partition import OwnedPartition
from streams.state.quotas import Quotas
from streams.state.timetable_planner import TimetablePlanner
from streams.state.unit_of_work import UnitOfWork, UnitsOfWork, all_or_worker_ends

# signups that one unit of work sorts, so at most as many new users in it
ENTRIES_AT_ONCE = 20_000
# other signups, or commands, in one unit of work; no sweep of their partitions begins meanwhile
CHANGED_AT_ONCE = 2_000
# monitors of one user that one unit of work changes with the user; no sweep of the partition begins meanwhile
CHANGED_WITH_USER_AT_ONCE = 1_000


class Registration:
    """Carries out signups and commands, a batch in one unit of work or several, each durable as a whole."""

    def __init__(
        self,
        units: UnitsOfWork,
        planner: TimetablePlanner,
        outputs: Outputs,
        admission: InputAdmission,
        changes: MonitorChanges,
        clock: Clock,
    ) -> None:
        self._units = units
        self._planner = planner
        self._outputs = outputs
        self._admission = admission
        self._changes = changes
        self._clock = clock
        self._newcomers = Newcomers(planner, outputs, clock)

    async def handle_signups(self, records: Iterable[Record]) -> None:
        """Register users; when this returns, all of it is durable and in the timetable."""
        for some in slices(await self._admission.signups(records), ENTRIES_AT_ONCE):
            async with self._units.begin() as work:
                newcomers, others = await self._newcomers.sort_out(work, some)
                await self._newcomers.register(work, newcomers)
            for few in slices(others, CHANGED_AT_ONCE):
                await self._apply_slice(few)
        # replies are durable before the input is acknowledged
        await self._outputs.outbox.delivered()

    async def handle_commands(self, records: Iterable[Record]) -> None:
        """Carry out commands; when this returns, all of it is durable and in the timetable."""
        plans = self._admission.plans
        some: list[Admitted[Signup | Command]] = []
        for each in await self._admission.commands(records):
            if is_for_many(each[1]):
                # in order, and in slices: a user may have a million monitors
                await self._apply_slice(some, plans)
                some = []
                await self._change_many(each)
            some.append(each)
            if len(some) >= CHANGED_AT_ONCE:
                await self._apply_slice(some, plans)
                some = []
        await self._apply_slice(some, plans)
        self._changes.begun.clear()
        # replies are durable before the input is acknowledged
        await self._outputs.outbox.delivered()

    async def _apply_slice(self, admitted: Sequence[Admitted[Signup | Command]], plans: Plans | None = None) -> None:
        """Carry out inputs of users that may be known. ``plans``: their quotas limit commands.

        No sweep of these partitions begins meanwhile: ``emitted_to`` is the instant between a monitor's old
        and its new spec.
        """
        if not admitted:
            return
        async with self._units.begin() as work, AsyncExitStack() as standstill:
            parts = sorted(by_partition(admitted).items())
            quotas = await self._look_up_and_count(work, parts, plans)
            for number, _ in parts:
                await standstill.enter_async_context(work.owned(number).sweep_lock)
            done: list[tuple[int, Changes]] = []
            replies: list[PendingReply] = []
            async for few in cooperative_chunks(admitted):
                for source, wanted, _ in few:
                    changes = await self._changes.apply_input(work, source, wanted, quotas, replies)
                    if changes is not None:
                        done.append((source.partition, changes))
            await work.finish()
            # a reply says what is durable
            for each in replies:
                self._outputs.replies.send(*each, offset=work.position(each[0]))
            with all_or_worker_ends():
                for number, changes in done:
                    for change in changes.monitors:
                        self._planner.replace(work.owned(number), change.before, change.after)

    @staticmethod
    async def _look_up_and_count(
        work: UnitOfWork,
        parts: Sequence[tuple[int, Sequence[Admitted[Signup | Command]]]],
        plans: Plans | None,
    ) -> Quotas | None:
        """Read the entries that inputs concern, and count what quotas limit, before sweeps stand still."""
        for number, some in parts:
            work.look_up(number, [key for _, _, keys in some for key in keys])
        if plans is None:
            return None
        quotas = Quotas(work, plans)
        async for few in cooperative_chunks([each for _, some in parts for each in some]):
            for source, wanted, _ in few:
                if isinstance(wanted, Command):
                    await quotas.count_ahead(source.partition, wanted)
        return quotas

    async def _change_many(self, each: Admitted[Signup | Command]) -> None:
        """Carry out most of what a command for a whole user concerns in slices; the command itself ends it.

        Killed in between, the command is read again: what is changed already is not changed again.
        """
        source, wanted, _ = each
        assert isinstance(wanted, Command)
        after_key: bytes | None = b""
        while after_key is not None:
            after_key = await self._change_slice(source, wanted, after_key)

    async def _change_slice(self, source: Record, wanted: Command, after_key: bytes) -> bytes | None:
        """Change some monitors of a user, those after a key; return the last one's key.

        None: the rest is for the command itself, as is a command that is repeated or refused.
        """
        number = source.partition
        async with self._units.begin() as work:
            partition = work.owned(number)
            if self._changes.is_repeated(work, source, wanted):
                return None
            async with partition.sweep_lock:
                try:
                    seen, after_key, changes = await self._changes_of_slice(work, partition, wanted, after_key)
                except InvalidInput:
                    return None  # refused as a whole, where it is carried out
                if seen < CHANGED_WITH_USER_AT_ONCE:
                    # few enough for one unit of work together with the command itself
                    return None
                whole_user = wanted.command is CommandType.DEREGISTER
                some = Changes(monitors=changes)
                self._changes.write(work, number, wanted.user_id, some, partition.emitted_to, whole_user=whole_user)
                await work.finish()
                with all_or_worker_ends():
                    for change in changes:
                        self._planner.replace(partition, change.before, change.after)
        if changes:
            self._changes.begun.add((number, source.offset))
        return after_key

    async def _changes_of_slice(
        self, work: UnitOfWork, partition: OwnedPartition, wanted: Command, after_key: bytes
    ) -> tuple[int, bytes, list[Change]]:
        """Return how many monitors a slice has, the key of its last one, and the changes. Raises InvalidInput."""
        of_user = work.monitors_of(partition.number, wanted.user_id, after_key)
        now = max(self._clock.now_ms(), partition.emitted_to)
        seen, changes = 0, []
        async for few in cooperative_chunks(islice(of_user, CHANGED_WITH_USER_AT_ONCE)):
            for key, monitor in few:
                seen, after_key = seen + 1, key
                after = self._changed_with_user(wanted, monitor, now, partition.emitted_to)
                if after is not monitor:
                    changes.append(Change(monitor, after))
        return seen, after_key, changes

    def _changed_with_user(self, wanted: Command, monitor: Monitor, now: int, emitted_to: int) -> Monitor | None:
        """The monitor after a command for a whole user: None if it goes, itself if it stays. Raises InvalidInput."""
        match wanted.command:
            case CommandType.DEREGISTER | CommandType.PURGE:
                return None
            case CommandType.CANCEL:
                return None if is_pending_task(monitor, emitted_to) else monitor
            case _:
                return changed_with_user(wanted, monitor, now, emitted_to, self._admission.secrets.recognised)
