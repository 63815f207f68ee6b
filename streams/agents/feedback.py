"""Feedback: results change states, changes of state become transitions, and failed ticks get a retry."""

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from itertools import islice

from everwatch.core.bounds import MOST_AHEAD_MS
from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec, table_records
from everwatch.kafka.consumed_record import Record
from everwatch.model import INLINE_EXECUTOR, Monitor, Result, Status
from streams.outputs.refused_inputs import RefusedInputs
from streams.result_application import ResultApplication
from streams.state.owned_partition import OwnedPartition
from streams.state.timetable_planner import TimetablePlanner
from streams.state.unit_of_work import MonitorWithUser, UnitOfWork, UnitsOfWork, all_or_worker_ends

KeyedRecord = tuple[Record, bytes, Status]
KeyedResult = tuple[bytes, Result]
"""The table key of a monitor, and a result that may change it."""
# long enough for a unit of work to become durable, as a rule; until then sweeps do not pass the instant of a retry
RETRY_AFTER_MS = 500
# how many results of a batch are asked whether an executor is alive
LOOKED_AT = 20
# all of them, if those without a region have been silent for that long
LOOKED_CLOSER_MS = 10_000


class Feedback:
    """Judges monitors by their results, each batch as one durable unit of work.

    A batch in which every monitor stays as it is writes nothing and waits for nothing; of a result that changes nothing
    only monitor and status are read.
    """

    def __init__(
        self,
        units: UnitsOfWork,
        planner: TimetablePlanner,
        result_application: ResultApplication,
        refused: RefusedInputs,
    ) -> None:
        self._units = units
        self._planner = planner
        self._result_application = result_application
        self._refused = refused

    async def handle_results(self, records: Iterable[Record]) -> None:
        """Change states by the results; the changes are durable when this returns."""
        keyed = await self._keyed(records)
        async with self._units.begin() as work, AsyncExitStack() as ceilings:
            changed: list[tuple[int, Monitor, Monitor]] = []
            for number, some in keyed.items():
                partition = work.owned(number)
                entries = work.look_up(number, list({key for _, key, _ in some}))
                relevant, earliest = await self._relevant(partition, some, entries)
                if earliest:
                    # sweeps stop one ms before ``earliest``, as a retry may be due at that very instant
                    # (newcomers, due strictly after their begin, need no such ms)
                    ceilings.enter_context(partition.ceiling_at(earliest - 1))
                changed += [(number, *each) for each in await self._change(work, partition, relevant, earliest)]
            await work.finish()
            with all_or_worker_ends():
                for number, before, after in changed:
                    if _retry_of(before) != _retry_of(after):
                        self._planner.replace(work.owned(number), before, after)

    async def _keyed(self, records: Iterable[Record]) -> dict[int, list[KeyedRecord]]:
        """Return the records by partition, with table key and status of each; refuse those that have none."""
        keyed: dict[int, list[KeyedRecord]] = {}
        async for few in cooperative_chunks(records):
            for record in few:
                try:
                    keyed.setdefault(record.partition, []).append((record, *_key_and_status(record)))
                except InvalidInput as error:
                    self._refused.refuse(record, error)
        return keyed

    async def _relevant(
        self, partition: OwnedPartition, keyed: list[KeyedRecord], entries: Mapping[bytes, bytes | None]
    ) -> tuple[list[KeyedResult], int]:
        """Return the results that may change their monitors, and the earliest instant of a retry; 0 if none failed."""
        _note_alive(partition, keyed)
        relevant: list[KeyedResult] = []
        met: set[bytes] = set()
        has_failures = False
        async for few in cooperative_chunks(keyed):
            for record, key, status in few:
                value = entries.get(key)
                # None: deleted while the tick was under way. Behind a result that counts, each is looked at
                if value is None or (key not in met and table_records.stays_as_it_is(value, status)):
                    continue
                try:
                    result = codec.decode_result(record.value)
                    # its instant becomes a retry's timestamp, which no broker takes from far ahead
                    latest = self._planner.now_ms() + MOST_AHEAD_MS
                    codec.check_not_ahead(max(result.scheduled_at, result.skipped_until), latest, "$.scheduled_at")
                except InvalidInput as error:
                    self._refused.refuse(record, error)
                    continue
                relevant.append((key, result))
                met.add(key)
                has_failures = has_failures or status is Status.FAILURE
        return relevant, max(self._planner.now_ms(), partition.sweeping_to) + RETRY_AFTER_MS if has_failures else 0

    async def _change(
        self, work: UnitOfWork, partition: OwnedPartition, relevant: list[KeyedResult], earliest: int
    ) -> list[tuple[Monitor, Monitor]]:
        """Write what the results change into the unit of work; gives the monitors before and after."""
        number = partition.number
        before: dict[bytes, MonitorWithUser] = {}
        after: dict[bytes, MonitorWithUser] = {}
        async for few in cooperative_chunks(relevant):
            met = work.with_users(number, {key for key, _ in few} - before.keys())
            before |= met
            after |= met
            for key, result in few:
                # one whose entry cannot be decoded counts as absent
                if key in after:
                    if after[key].monitor.spec.policy.regions:
                        partition.unanswered.pop(result.region, None)
                    monitor, announced = self._result_application.after_result(
                        partition, key, after[key], result, earliest
                    )
                    after[key] = MonitorWithUser(monitor, after[key].user)
                    for record in announced:
                        work.announce(number, record)
        changed: list[tuple[Monitor, Monitor]] = []
        async for some in cooperative_chunks(before.items()):
            for key, (old, _) in some:
                new = after[key].monitor
                if new is not old and new != old:
                    work.add(number, key, new)
                    changed.append((old, new))
        return changed


def _retry_of(monitor: Monitor) -> tuple[int, int, int]:
    """Entry of the timetable for a monitor's retry: the instant alone may be the same for the next attempt."""
    agenda = monitor.agenda
    return agenda.retry_at, agenda.retry_of, agenda.retry_attempt


def _note_alive(partition: OwnedPartition, keyed: list[KeyedRecord]) -> None:
    """Note that executors without a region are alive, if one of these results is theirs."""
    ticks = partition.unanswered.get("")
    if ticks is None:
        return
    # among results of regions theirs may be few
    most = len(keyed) if ticks.last - ticks.first >= LOOKED_CLOSER_MS else LOOKED_AT
    if any(_is_executors(record) for record, _, _ in islice(reversed(keyed), most)):
        del partition.unanswered[""]


def _is_executors(record: Record) -> bool:
    """Tell whether an executor without a region sent this result; False for a mangled one."""
    try:
        result = codec.decode_result(record.value)
    except InvalidInput:
        return False
    return result.executor != INLINE_EXECUTOR and not result.region


def _key_and_status(record: Record) -> tuple[bytes, Status]:
    """Table key and status of a result. Raises InvalidInput."""
    verdict = table_records.read_verdict(record.value) if record.value else None
    if verdict is not None:
        return verdict[0] + codec.SEPARATOR + verdict[1], verdict[2]
    result = codec.decode_result(record.value)
    return codec.table_key(result.user_id, result.monitor_id), result.status
