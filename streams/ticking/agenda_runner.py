"""Agenda runner: ends pauses, decides runs in regions, sends reminders and removes finished tasks in their time."""

import logging
from collections.abc import Sequence

from everwatch.core.bisection import Bisection
from everwatch.core.clock import Clock
from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import is_retryable
from everwatch.model import Monitor
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled, labelled_key
from everwatch.rules import lifecycle
from everwatch.rules.regional_runs import after_waiting
from everwatch.timetable import LocalStateWrong
from streams.result_application import ResultApplication
from streams.state.entry_store import EntryStore
from streams.state.fenced_writers import PartitionLost
from streams.state.owned_partition import OwnedPartition
from streams.state.owned_partitions import OwnedPartitions
from streams.state.timetable_planner import TimetablePlanner
from streams.state.unit_of_work import UnitOfWork, UnitsOfWork, all_or_worker_ends
from streams.transport.output_record import OutputRecord

logger = logging.getLogger(__name__)
AT_ONCE = 1_000


class AgendaRunner:
    """Carries out due agenda items, some of one partition at a time, each time as one durable unit of work."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        planner: TimetablePlanner,
        units: UnitsOfWork,
        store: EntryStore,
        result_application: ResultApplication,
        clock: Clock,
    ) -> None:
        self._partitions = partitions
        self._planner = planner
        self._units = units
        self._store = store
        self._result_application = result_application
        self._clock = clock
        self._log_throttle = LogThrottle(clock)

    async def run_due(self) -> None:
        """Carry out the due items of every partition. A partition that fails is logged and keeps no other one waiting.

        Raises LocalStateWrong.
        """
        for partition in self._partitions:
            try:
                await self._run_partition(partition)
            except LocalStateWrong:
                raise
            except PartitionLost:
                pass  # its next owner does it
            except Exception as error:
                if self._log_throttle.may_log((partition.number, type(error))):
                    logger.exception(
                        "agenda processing of partition %d failed; retrying (logged once a minute)",
                        partition.number,
                        extra=labelled(partition=partition.number),
                    )

    async def _run_partition(self, partition: OwnedPartition) -> None:
        while True:
            dated = self._store.agenda_due(partition.number, self._clock.now_ms(), AT_ONCE)
            if not dated or self._partitions.get(partition.number) is not partition:
                return
            await self._carry_out_bisected(partition, dated)

    async def _carry_out_bisected(self, partition: OwnedPartition, dated: Sequence[tuple[int, bytes]]) -> None:
        """Carry out items; one that fails alone is dropped from the index. Raises what is no item's fault."""
        left = Bisection(dated)
        while part := left.part:
            try:
                await self._carry_out(partition.number, part)
            except Exception as error:
                if is_retryable(error):
                    raise
                if not left.failed():
                    continue
                due, key = part[0]
                logger.error(
                    "the agenda of %r at %d fails and is dropped",
                    key,
                    due,
                    exc_info=error,
                    extra=labelled_key(partition.number, key),
                )
                # the entry stays as it is; its agenda is read again with the table, from the changelog
                self._store.forget_agenda(partition.number, part)
            left.done()

    async def _carry_out(self, number: int, dated: Sequence[tuple[int, bytes]]) -> None:
        async with self._units.begin() as work:
            partition = work.owned(number)
            keys = list({key for _, key in dated})
            work.look_up(number, keys)
            # a monitor is resumed between two sweeps, so no tick is lost or doubled
            async with partition.sweep_lock:
                changed = await self._changes(work, partition, keys)
                await work.finish()
                with all_or_worker_ends():
                    for before, after in changed:
                        self._planner.replace(partition, before, after)
            self._store.forget_agenda(number, dated)

    async def _changes(
        self, work: UnitOfWork, partition: OwnedPartition, keys: list[bytes]
    ) -> list[tuple[Monitor, Monitor | None]]:
        """Write what is due on these monitors' agendas into ``work``; return the monitors before and after."""
        changed: list[tuple[Monitor, Monitor | None]] = []
        async for few in cooperative_chunks(keys):
            for key in few:
                if change := self.change(work, partition, key, self._clock.now_ms()):
                    changed.append(change)
        return changed

    def change(
        self, work: UnitOfWork, partition: OwnedPartition, key: bytes, now: int
    ) -> tuple[Monitor, Monitor | None] | None:
        """Write what is due at ``now`` on a monitor's agenda into ``work``.

        Return the monitor before and after it, None if nothing is due.
        """
        value = work.value(partition.number, key)
        # the index may name what is gone or has changed since
        if value is None:
            return None
        monitor = work.decoded(partition.number, key, value)
        if not isinstance(monitor, Monitor):  # only monitors have dates
            return None
        if lifecycle.is_to_be_forgotten(monitor, now):
            work.delete(partition.number, monitor.user_id, monitor.monitor_id, at=partition.emitted_to)
            return monitor, None
        before = monitor
        announced: list[OutputRecord] = []
        if any(run.decide_at <= now for run in monitor.agenda.runs_in_regions):
            waiting, verdicts = after_waiting(monitor, partition.regional_answers_of(key), now)
            earliest = max(now, partition.emitted_to + 1)
            user = work.user(partition.number, monitor.user_id)
            monitor, announced = self._result_application.after(waiting, user, verdicts, earliest)
        after, reminder = lifecycle.after_agenda(monitor, now, partition.emitted_to)
        if after is before:
            return None
        if reminder is not None:
            muted_until = lifecycle.maintained_until(monitor, work.user(partition.number, monitor.user_id), now)
            if muted_until:
                after, reminder = lifecycle.reminded_at(monitor, muted_until), None
        work.add(partition.number, key, after)
        for record in announced:
            work.announce(partition.number, record)
        for transition in (lifecycle.transition_between(monitor, after), reminder):
            if transition is not None:
                user = work.user(partition.number, monitor.user_id)
                work.announce(partition.number, self._result_application.record(transition, after, user))
        return before, after
