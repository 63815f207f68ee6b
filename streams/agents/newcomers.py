"""Registration of users without an entry.

Nothing of them is read but that they have none, and sweeps go on meanwhile.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from everwatch.core.clock import Clock
from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput
from everwatch.model import Asker, At, CommandOutcome, MonitorSpec, ReplyOn, Signup
from everwatch.rules.registration_rules import (
    newcomer,
)
from everwatch.timetable import NEVER, TimetableEntry
from streams.agents.input_admission import Admitted, by_partition
from streams.agents.shared_entries import SharedEntries, SharedEntriesOfBatch
from streams.outputs.all_outputs import Outputs
from streams.state.owned_partition import OwnedPartition
from streams.state.timetable_planner import TimetablePlanner
from streams.state.unit_of_work import UnitOfWork, all_or_worker_ends

# long enough for a unit of work to become durable, as a rule
BEGIN_AFTER_MS = 500


class Newcomers:
    """Registers unknown users."""

    def __init__(self, planner: TimetablePlanner, outputs: Outputs, clock: Clock) -> None:
        self._planner = planner
        self._outputs = outputs
        self._clock = clock

    async def sort_out(
        self, work: UnitOfWork, admitted: list[Admitted[Signup]]
    ) -> tuple[dict[int, list[Admitted[Signup]]], list[Admitted[Signup]]]:
        """Split signups into those of unknown users, by partition, and all others.

        The others: those of known users, a user's second one in the batch, with a task due within a second, with an id
        to be remembered, or with a condition (``if_registration``).
        """
        now = self._clock.now_ms()
        known: dict[int, set[bytes]] = {}
        for number, some in by_partition(admitted).items():
            # an unknown user has no monitors, so only users are read
            users = [keys[0] for _, _, keys in some]
            values = work.read(number, users)
            known[number] = {user for user, value in zip(users, values, strict=True) if value is not None}
            await asyncio.sleep(0)
        newcomers: dict[int, list[Admitted[Signup]]] = {}
        others: list[Admitted[Signup]] = []
        # alike signups have the very same monitors
        alike: tuple[MonitorSpec, ...] | None = None
        is_due_soon = False
        for each in admitted:
            source, signup, keys = each
            if signup.monitors is not alike:
                alike, is_due_soon = signup.monitors, _is_due_soon(signup, now)
            taken = known[source.partition]
            needs_nothing_stored = not signup.remembered_id and not signup.if_registration
            if keys[0] not in taken and needs_nothing_stored and not is_due_soon:
                newcomers.setdefault(source.partition, []).append(each)
            else:
                others.append(each)
            taken.add(keys[0])
        return newcomers, others

    async def register(self, work: UnitOfWork, newcomers: dict[int, list[Admitted[Signup]]]) -> None:
        """Register unknown users.

        They begin a little later than now, so that sweeps can go on while all this becomes durable.
        """
        registered: list[tuple[OwnedPartition, list[TimetableEntry], list[SharedEntries]]] = []
        asked: list[tuple[int, Signup]] = []
        with ExitStack() as stack:
            for number, some in newcomers.items():
                partition = work.owned(number)
                now = max(self._clock.now_ms(), partition.sweeping_to)
                stack.enter_context(partition.ceiling_at(now + BEGIN_AFTER_MS))
                registered.append((partition, *await self._enter(work, number, some, now, asked)))
                # the broker commits while the next partition's users are encoded
                work.begin_commit(number)
            await work.finish()
            for number, signup in asked:
                self._outputs.replies.send(
                    number, Asker.of(signup), CommandOutcome.REGISTERED, offset=work.position(number)
                )
            with all_or_worker_ends():
                await _put_all(registered)

    async def _enter(
        self,
        work: UnitOfWork,
        number: int,
        newcomers: Iterable[Admitted[Signup]],
        now: int,
        asked: list[tuple[int, Signup]],
    ) -> tuple[list[TimetableEntry], list[SharedEntries]]:
        """Write the newcomers of one partition into ``work``. Adds to ``asked``.

        Return their timetable entries: one by one, and together where signups are alike.
        """
        entries: list[TimetableEntry] = []
        alike = SharedEntriesOfBatch(self._planner, now, now + BEGIN_AFTER_MS)
        async for few in cooperative_chunks(newcomers):
            for source, signup, keys in few:
                shared = alike.of(signup)
                if shared is not None:
                    self._ask(asked, number, signup)
                    shared.take(work, number, signup, keys)
                    work.count_new(number, 1, len(keys) - 1)
                    continue
                try:
                    user, monitors = newcomer(signup, now, now + BEGIN_AFTER_MS)
                except InvalidInput as error:
                    self._outputs.refused.refuse(source, error)
                    continue
                self._ask(asked, number, signup)
                work.add(number, keys[0], user)
                work.count_new(number, 1, len(keys) - 1)
                for key, monitor in zip(keys[1:], monitors, strict=True):
                    work.add(number, key, monitor)
                    entry = self._planner.entry_of(monitor, key)
                    if entry is not None:
                        entries.append(entry)
        for shared in alike.shared:
            shared.write(work, number)
            await asyncio.sleep(0)
        return entries, alike.shared

    @staticmethod
    def _ask(asked: list[tuple[int, Signup]], number: int, signup: Signup) -> None:
        if signup.signup_id and signup.reply is ReplyOn.EVERY_OUTCOME:
            asked.append((number, signup))


async def _put_all(registered: Sequence[tuple[OwnedPartition, list[TimetableEntry], list[SharedEntries]]]) -> None:
    """Put the entries into their partitions' timetables."""
    # without a pause: an item that the loader read meanwhile would be put twice
    for partition, entries, _ in registered:
        for entry in filter(_is_dated, entries):
            partition.timetable.put(entry)
    for partition, _, shared_entries in registered:
        for shared in shared_entries:
            for _ in shared.put(partition.timetable):
                await asyncio.sleep(0)
    for partition, entries, _ in registered:
        async for recurring in cooperative_chunks(entries):
            for entry in recurring:
                if not _is_dated(entry):
                    partition.timetable.put(entry)


def _is_dated(entry: TimetableEntry) -> bool:
    """Tell whether the index of due instants has it too."""
    return isinstance(entry.schedule, At) or entry.held_back or entry.until < NEVER


def _is_due_soon(wanted: Signup, now: int) -> bool:
    soon = now + 2 * BEGIN_AFTER_MS
    for spec in wanted.monitors:
        if isinstance(spec.schedule, At):
            at = spec.schedule.at
            # a negative instant is a delay after the registration, which is about now
            if (at if at > 0 else now - at) <= soon:
                return True
    return False
