"""Inline evaluator: runs the kinds that judge signals, in the worker."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.kind_runner import check_outcome
from everwatch.kinds.execution.result_builder import RunIdentity
from everwatch.kinds.protocol import InlineView
from everwatch.model import Monitor, Outcome, Status
from everwatch.timetable import Firing, Packing
from streams.outputs.worker_results import WorkerResults
from streams.state.entry_store import EntryStore
from streams.state.owned_partition import OwnedPartition
from streams.ticking.chunk_ticks import AT_ONCE, records_of, ticks_of


class InlineEvaluator:
    """Sends the results of inline kinds."""

    def __init__(
        self,
        store: EntryStore,
        results: WorkerResults,
        packing: Packing,
        secrets: ConfigSecrets,
    ) -> None:
        self._store = store
        self._results = results
        self._packing = packing
        self._secrets = secrets

    async def evaluate(self, partition: OwnedPartition, firings: Iterable[Firing], now: int) -> None:
        """Evaluate all due monitors of inline kinds by their stored entries."""
        for firing in firings:
            for entries in records_of(firing.chunk, self._packing):
                due = self._due(partition, entries, firing.fire)
                for evaluated, (monitor, instant, attempt) in enumerate(due, 1):
                    self._evaluate(partition, monitor, instant, now, attempt=attempt)
                    # after an outage one monitor alone may have thousands of instants
                    if evaluated % AT_ONCE == 0:
                        await self._results.room()
                        await asyncio.sleep(0)
                await self._results.room()
                await asyncio.sleep(0)

    def _due(
        self, partition: OwnedPartition, entries: Iterable[tuple[int, bytes]], instants: Sequence[int]
    ) -> Iterator[tuple[Monitor, int, int]]:
        """Yield the stored monitor, the instant and the attempt of each due tick of these records."""
        ticks = list(ticks_of(entries, partition.number))
        keys = [codec.table_key(tick.user_id, tick.monitor_id) for _, tick in ticks]
        values = self._store.read_many(partition.number, keys)
        for (delta, tick), key, value in zip(ticks, keys, values, strict=True):
            monitor = self._store.undecodable.decode(partition.number, key, value) if value else None
            if isinstance(monitor, Monitor):
                for instant in instants:
                    yield monitor, instant + delta, tick.attempt

    def evaluate_now(self, partition: OwnedPartition, monitor: Monitor, scheduled_at: int, now: int) -> None:
        """Evaluate one monitor beside its schedule; part of the unit of work that asks for it."""
        self._evaluate(partition, monitor, scheduled_at, now, manual=True)

    def _evaluate(
        self,
        partition: OwnedPartition,
        monitor: Monitor,
        scheduled_at: int,
        now: int,
        *,
        attempt: int = 1,
        manual: bool = False,
    ) -> None:
        run = RunIdentity.of(monitor, scheduled_at, attempt, manual=manual)
        outcome = self._outcome(partition, monitor, run, max(scheduled_at, now))
        self._results.send(partition.number, run, outcome, now)

    def _outcome(self, partition: OwnedPartition, monitor: Monitor, run: RunIdentity, at: int) -> Outcome:
        try:
            kind = registry.kind_named(monitor.spec.kind)
            assert kind.inline  # the timetable says so
            view = InlineView(monitor.since, partition.opened_at, monitor.last_signal, monitor.signals)
            config = registry.parse_config(kind, self._secrets.decrypted(kind, monitor.spec.config))
            outcome = kind.judge(config, view, at)
            check_outcome(outcome, kind.name)
        except InvalidInput as error:
            return Outcome(Status.FAILURE, str(error))
        except Exception as error:  # a kind of another package may fail in any way, and harms only its monitors
            self._results.report_fault(run, error)
            return Outcome(Status.FAILURE, f"the kind {monitor.spec.kind!r} failed: {type(error).__name__}: {error}")
        return outcome
