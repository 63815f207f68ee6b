"""Inline evaluator: judges inline kinds in the worker, and reports skipped ticks."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.kind_runner import check_outcome
from everwatch.kinds.execution.result_builder import InlineRun, ResultBuilder
from everwatch.kinds.protocol import InlineView
from everwatch.model import Monitor, Outcome, Result, Status, Tick
from everwatch.timetable import Chunk, Destination, Firing, Packing, unframed
from streams.state.entry_store import Store
from streams.state.owned_partition import OwnedPartition

AT_ONCE = 200


class InlineEvaluator:
    """Sends the results of inline kinds and of skipped ticks."""

    def __init__(
        self,
        store: Callable[[], Store],
        outbox: Outbox,
        packing: Packing,
        topics: Topics,
        results: ResultBuilder,
        secrets: ConfigSecrets,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._packing = packing
        self._topics = topics
        self._secrets = secrets
        self._results = results

    async def judge(self, partition: OwnedPartition, firings: Iterable[Firing], now: int) -> None:
        """Judge all due monitors of inline kinds by their stored entries."""
        told = 0
        for firing in firings:
            for entries in _some(firing.chunk, self._packing):
                ticks = list(_ticks(entries, partition))
                keys = [codec.table_key(tick.user_id, tick.monitor_id) for _, tick in ticks]
                values = self._store().read_many(partition.number, keys)
                for (delta, tick), key, value in zip(ticks, keys, values, strict=True):
                    monitor = self._store().undecodable.decode(partition.number, key, value) if value else None
                    if isinstance(monitor, Monitor):
                        for instant in firing.fire:
                            self._judge(partition, monitor, instant + delta, now, attempt=tick.attempt)
                            told += 1
                            # after an outage one monitor alone may have thousands of instants
                            if told % AT_ONCE == 0:
                                await self._outbox.room()
                                await asyncio.sleep(0)
                await self._outbox.room()
                await asyncio.sleep(0)

    def judge_now(self, partition: OwnedPartition, monitor: Monitor, scheduled_at: int, now: int) -> None:
        """Judge one monitor beside its schedule; part of the unit of work that asks for it."""
        self._judge(partition, monitor, scheduled_at, now, manual=True)

    async def report_skipped(self, partition: OwnedPartition, firings: Iterable[Firing], now: int) -> None:
        """Report the skipped instants of all monitors."""
        for batch_key, chunk, _, skipped in firings:
            reason = f"{len(skipped)} due times passed unserved; skipped under the misfire rule {batch_key.misfire}"
            await self._report(partition, chunk, skipped, reason, now)

    async def report_unsendable(
        self, partition: OwnedPartition, ticks: Iterable[tuple[tuple[Destination, str], Chunk, int, str]], now: int
    ) -> None:
        """Report ticks that their topic refuses as skipped, with the reason."""
        for (_, region), chunk, instant, reason in ticks:
            await self._report(partition, chunk, [instant], reason, now, region)

    async def _report(
        self, partition: OwnedPartition, chunk: Chunk, skipped: Sequence[int], reason: str, now: int, region: str = ""
    ) -> None:
        outcome = Outcome(Status.SKIPPED, reason)
        for entries in _some(chunk, self._packing):
            for delta, tick in _ticks(entries, partition):
                self._send(
                    partition,
                    self._results.build(
                        InlineRun(
                            tick.user_id, tick.monitor_id, skipped[0] + delta, tick.kind, tick.version, tick.attempt
                        ),
                        outcome,
                        now,
                        skipped=(skipped[-1] + delta, len(skipped)),
                        region=region,
                    ),
                    group=partition.number,
                )
            await self._outbox.room()
            await asyncio.sleep(0)

    def _judge(
        self,
        partition: OwnedPartition,
        monitor: Monitor,
        scheduled_at: int,
        now: int,
        *,
        attempt: int = 1,
        manual: bool = False,
    ) -> None:
        run = InlineRun.of(monitor, scheduled_at, attempt, manual=manual)
        outcome = self._outcome(partition, monitor, run, max(scheduled_at, now))
        self._send(
            partition,
            self._results.build(run, outcome, now),
            group=None if manual else partition.number,
        )

    def _outcome(self, partition: OwnedPartition, monitor: Monitor, run: InlineRun, at: int) -> Outcome:
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

    def _send(self, partition: OwnedPartition, result: Result, group: int | None) -> None:
        self._outbox.send(
            self._topics.results,
            partition=partition.number,
            key=codec.user_key(result.user_id),
            value=self._results.encode(result),
            group=group,
        )


def _some(chunk: Chunk, packing: Packing) -> Iterator[list[tuple[int, bytes]]]:
    """The records of a chunk, a few at a time."""
    entries = chunk.entries(packing)
    while some := [(entry.delta, entry.framed) for entry in islice(entries, AT_ONCE)]:
        yield some


def _ticks(entries: Iterable[tuple[int, bytes]], partition: OwnedPartition) -> Iterator[tuple[int, Tick]]:
    for delta, record in entries:
        yield delta, codec.decode_tick(*unframed(record), 0, partition.number)
