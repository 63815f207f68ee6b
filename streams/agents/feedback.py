"""Feedback: results change states, changes of state become transitions, and failed ticks get a retry."""

from collections.abc import Iterable
from contextlib import ExitStack

from everwatch.core.bounds import MOST_AHEAD_MS
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec, table_records
from everwatch.kafka.consumed_record import Record
from everwatch.model import INLINE_EXECUTOR, Monitor, Status
from everwatch.rules.regional_runs import after_region
from streams.outputs.dead_letters import RejectedInputs
from streams.state.owned_partition import OwnedPartition
from streams.state.timetable_planner import TimetablePlanner
from streams.state.unit_of_work import UnitOfWork, UnitsOfWork, all_or_rebuilt
from streams.ticking.judging import Judging
from streams.transport.cooperative_chunks import cooperative_chunks

Judged = tuple[Record, bytes, Status]
# long enough for a unit of work to become durable, as a rule; until then sweeps do not pass the instant of a retry
RETRY_AFTER_MS = 500
# how many results of a batch are asked whether an executor is alive
LOOKED_AT = 20


class Feedback:
    """Judges monitors by their results, each batch as one durable unit of work.

    A batch in which every monitor stays as it is writes nothing and waits for nothing; of a result that changes nothing
    only monitor and status are read.
    """

    def __init__(
        self,
        units: UnitsOfWork,
        planner: TimetablePlanner,
        judging: Judging,
        rejected: RejectedInputs,
    ) -> None:
        self._units = units
        self._planner = planner
        self._judging = judging
        self._rejected = rejected

    async def judge(self, records: Iterable[Record]) -> None:
        """Change states by the results; the changes are durable when this returns."""
        judged: dict[int, list[Judged]] = {}
        async for few in cooperative_chunks(records):
            for record in few:
                try:
                    judged.setdefault(record.partition, []).append((record, *_verdict(record)))
                except InvalidInput as error:
                    self._rejected.refuse(record, error)
        async with self._units.begin() as work:
            with ExitStack() as holds:
                replanned: list[tuple[int, Monitor, Monitor]] = []
                for number, some in judged.items():
                    partition = work.owned(number)
                    _note_answers(partition, some)
                    earliest = 0
                    work.look_up(number, list({key for _, key, _ in some}))
                    async for part in cooperative_chunks(some):
                        for record, key, status in part:
                            value = work.value(number, key)
                            # None: deleted while the tick was under way
                            if value is None or table_records.stays_as_it_is(value, status):
                                continue
                            if not earliest and status is Status.FAILURE:
                                earliest = max(self._planner.now_ms(), partition.sweeping_to) + RETRY_AFTER_MS
                                holds.enter_context(partition.sweeps_held_at(earliest - 1))
                            change = self._change(work, record, key, value, earliest)
                            if change and _retry_of(change[0]) != _retry_of(change[1]):
                                replanned.append((number, *change))
                await work.finish()
                with all_or_rebuilt():
                    for number, before, after in replanned:
                        self._planner.plan(work.owned(number), before, after)

    def _change(
        self, work: UnitOfWork, record: Record, key: bytes, value: bytes, earliest: int
    ) -> tuple[Monitor, Monitor] | None:
        """The monitor before and after a result, if that changes it."""
        try:
            result = codec.decode_result(record.value)
            # its instant becomes a retry's timestamp, which no broker takes from far ahead
            latest = self._planner.now_ms() + MOST_AHEAD_MS
            codec.check_not_ahead(max(result.scheduled_at, result.skipped_until), latest, "$.scheduled_at")
        except InvalidInput as error:
            self._rejected.refuse(record, error)
            return None
        monitor = work.decoded(record.partition, key, value)
        if not isinstance(monitor, Monitor):  # a result names a monitor; what it is for cannot be decoded
            return None
        if not monitor.spec.policy.regions:
            after, changes = self._judging.after(work, record.partition, monitor, (result,), earliest)
        else:
            partition = work.owned(record.partition)
            answers = partition.answers_of(key)
            waiting, verdicts = after_region(monitor, result, answers, partition.opened_at)
            after, changes = self._judging.after(work, record.partition, waiting, verdicts, earliest)
        if after is monitor or after == monitor:
            return None
        work.add(record.partition, key, after)
        self._judging.send(record.partition, changes)
        return monitor, after


def _retry_of(monitor: Monitor) -> tuple[int, int, int]:
    """What the timetable has of a monitor's retry: the instant alone may be the same for the next attempt."""
    agenda = monitor.agenda
    return agenda.retry_at, agenda.retry_of, agenda.retry_attempt


def _note_answers(partition: OwnedPartition, judged: list[Judged]) -> None:
    """Note that executors are alive, if one of these results is an executor's."""
    if partition.unanswered_since and any(_is_executors(record) for record, _, _ in judged[-LOOKED_AT:]):
        partition.unanswered_since = 0


def _is_executors(record: Record) -> bool:
    """Tell whether an executor sent this result; False for a mangled one."""
    try:
        return codec.decode_result(record.value).executor != INLINE_EXECUTOR
    except InvalidInput:
        return False


def _verdict(record: Record) -> tuple[bytes, Status]:
    """Table key and status of a result. Raises InvalidInput."""
    verdict = table_records.read_verdict(record.value) if record.value else None
    if verdict is not None:
        return verdict[0] + codec.SEPARATOR + verdict[1], verdict[2]
    result = codec.decode_result(record.value)
    return codec.table_key(result.user_id, result.monitor_id), result.status
