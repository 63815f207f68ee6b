"""Examination of tables before they are used, and the repair of a changelog that has lost records.

A worker never goes on with fewer monitors than it had without saying so: a table that does not fit its changelog is
dropped if the changelog is whole, written back to it if it is provably newer, and else the worker ends with a sentence
(``everwatch.rules.changelog_marks`` has the rules).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import ChangelogLost
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.peek import read_at
from everwatch.kafka.progress import Noted
from everwatch.kafka.to_end import read_to_end
from everwatch.kafka.unreadable_batches import Sieve
from everwatch.observability.logs import labelled
from everwatch.rules.changelog_marks import Held, Mark, TableVerdict, digest_of, is_another, judge
from everwatch.rules.generations import reason_closed
from streams.options import WorkerOptions
from streams.state.entry_store import EntryStore
from streams.state.fenced_writers import ChangelogRecord
from streams.transport.worker_clients import WorkerClients

logger = logging.getLogger(__name__)


class TableFinding(NamedTuple):
    """Findings for one partition: the table's mark, the changelog, the last owner's note, and the verdict."""

    number: int
    verdict: TableVerdict
    table: Mark | None
    held: Held
    noted: Noted


class _WriteBack:
    """Writes entries back to a partition's changelog, ``at_once`` of them in a transaction.

    ``mark``: the last record that was written, at first the changelog's end. ``written``: how many were.
    """

    def __init__(
        self, number: int, mark: Mark, write: Callable[[int, Sequence[ChangelogRecord]], Awaitable[int]], at_once: int
    ) -> None:
        self._number = number
        self._write = write
        self._at_once = at_once
        self._waiting: list[ChangelogRecord] = []
        self.mark = mark
        self.written = 0

    async def add(self, records: Iterable[ChangelogRecord]) -> None:
        """Take records, and write those that fill a transaction."""
        self._waiting += records
        await self._send(self._at_once)

    async def flush(self) -> None:
        """Write what is left."""
        await self._send(1)

    async def _send(self, least: int) -> None:
        while len(self._waiting) >= least:
            some, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
            key, value, _ = some[-1]
            self.mark = Mark(self.mark.topic_id, await self._write(self._number, some), digest_of(key, value))
            self.written += len(some)


class TableExaminer:
    """Compares tables with their changelog; drops them, writes them back, or ends the worker.

    ``member`` is this worker's name. With the option ``rebuild_changelog`` what cannot be read of the changelog is
    passed over (``kafka.unreadable_batches``).
    """

    def __init__(
        self,
        topic: str,
        member: str,
        store: EntryStore,
        clients: WorkerClients,
        options: WorkerOptions,
    ) -> None:
        self._topic = topic
        self._member = member
        self._store = store
        self._clients = clients
        self._rebuild = options.rebuild_changelog
        self._at_once = options.written_back_at_once

    async def examine(self, numbers: Iterable[int]) -> list[TableFinding]:
        """Compare these partitions' tables with the changelog. Raises BrokerUnavailable."""
        marks = {number: self._store.mark_of(number) for number in sorted(numbers)}
        if not marks:
            return []
        # notes first: the owner of a standby's partition goes on writing, and a note that is newer than the changelog's
        # bounds would look as if the changelog had lost records
        noted = await self._clients.read_progress(marks)
        held = await asyncio.to_thread(self._look, marks)
        findings = []
        for number, table in marks.items():
            owned = noted.get(number, Noted(0, None))
            verdict = judge(table, held[number], owned.owner, self._member)
            findings.append(TableFinding(number, verdict, table, held[number], owned))
        self._store.changelog_id = held[min(held)].topic_id
        return findings

    def raise_if_lost(self, findings: Iterable[TableFinding]) -> None:
        """Check that no finding needs a person's decision. Raises ChangelogLost."""
        lost = [finding for finding in findings if finding.verdict is TableVerdict.UNKNOWN]
        if lost and not self._rebuild:
            raise ChangelogLost(self._sentence(lost))

    async def mend(
        self,
        findings: Iterable[TableFinding],
        write: Callable[[int, Sequence[ChangelogRecord]], Awaitable[int]],
        note: Callable[[int, int, Mark], Awaitable[None]],
    ) -> None:
        """Make tables and changelog agree, when no other worker can write it.

        ``write`` appends to the changelog and gives the last offset, ``note`` notes how far a partition's ticks are
        emitted and whose table it is. Raises ChangelogLost, PartitionLost, BrokerUnavailable.
        """
        findings = list(findings)
        self.raise_if_lost(findings)
        for finding in findings:
            if finding.verdict is TableVerdict.OUTDATED:
                logger.warning(
                    "the table of partition %d is not of the changelog as it is now and is read anew",
                    finding.number,
                    extra=labelled(partition=finding.number),
                )
                self._store.drop(finding.number)
            elif finding.verdict is not TableVerdict.FITS:
                await self._write_back(finding, write, note)
            elif finding.table is not None and not finding.table.topic_id:
                # an earlier version did not note the topic's id
                self._store.set_mark(finding.number, finding.table._replace(topic_id=finding.held.topic_id))

    async def usable_as_standby(self, numbers: Iterable[int]) -> set[int]:
        """The partitions whose copies can follow the changelog, once outdated ones are dropped.

        A copy that does not fit a changelog that has lost records may be the only whole one: it is left as it is.
        Raises BrokerUnavailable.
        """
        usable = set()
        for finding in await self.examine(numbers):
            if finding.verdict is TableVerdict.OUTDATED:
                logger.warning(
                    "the copy of partition %d is not of the changelog as it is now and is read anew",
                    finding.number,
                    extra=labelled(partition=finding.number),
                )
                self._store.drop(finding.number)
            if finding.verdict in (TableVerdict.FITS, TableVerdict.OUTDATED):
                usable.add(finding.number)
            else:
                logger.error("%s This worker keeps its copy and does not follow the changelog.", self._loss(finding))
        return usable

    async def _write_back(
        self,
        finding: TableFinding,
        write: Callable[[int, Sequence[ChangelogRecord]], Awaitable[int]],
        note: Callable[[int, int, Mark], Awaitable[None]],
    ) -> None:
        number, store, held = finding.number, self._store, finding.held
        left = await asyncio.to_thread(self._digests, number, held)
        entries = 0
        async for few in cooperative_chunks(store.scan(number)):
            entries += len(few)
        logger.warning(
            "the changelog of partition %d has lost records: it has %d entries, the table of this worker has %d. %s",
            number,
            len(left),
            entries,
            "The table is written back."
            if finding.table
            else "There is no table here; the changelog is taken as it is.",
            extra=labelled(partition=number),
        )
        back = _WriteBack(number, Mark(held.topic_id, held.end - 1), write, self._at_once)
        if finding.table:
            async for few in cooperative_chunks(store.scan(number)):
                await back.add((key, value, 0) for key, value in few if left.pop(key, 0) != digest_of(key, value))
            # keys that only the changelog has: their input is not acknowledged and comes again
            await back.add((key, None, 0) for key in left)
            await back.flush()
        # noted before the table is marked: after an interruption the changelog counts as whole
        emitted_to = max(finding.noted.emitted_to, store.emitted_to(number))
        if finding.noted.owner is not None:
            await note(number, emitted_to, back.mark._replace(member=self._member))
        if finding.table:
            store.set_mark(number, back.mark)
        logger.warning(
            "partition %d: %d records written back to the changelog",
            number,
            back.written,
            extra=labelled(partition=number),
        )

    def _look(self, marks: dict[int, Mark | None]) -> dict[int, Held]:
        topic_id = self._clients.changelog_id()
        # the mark of a table or an owner is committed, although the broker may not have closed all of it yet
        with closing(self._clients.changelog("read_uncommitted")) as consumer:
            held = {number: bounds(consumer, self._topic, number) for number in marks}
            at = {
                number: mark.offset
                for number, mark in marks.items()
                if mark is not None and mark.digest and mark.offset in held[number]
            }
            found = read_at(consumer, self._topic, at)
        digests = {number: digest_of(record.key, record.value) for number, record in found.items()}
        return {number: Held(topic_id, some.start, some.stop, digests.get(number, 0)) for number, some in held.items()}

    def _digests(self, number: int, held: Held) -> dict[bytes, int]:
        """Every entry that the changelog has, by its digest."""
        found: dict[bytes, int] = {}
        with closing(self._clients.changelog("read_committed")) as consumer:
            sieve = Sieve(consumer, self._clients.changelog_prober, self._store.clock) if self._rebuild else None
            for messages in read_to_end(consumer, self._topic, {number: range(held.start, held.end)}, sieve):
                for record in map(Record.of, messages):
                    if record.value is None:
                        found.pop(record.key or b"", None)
                    else:
                        found[record.key or b""] = digest_of(record.key, record.value)
        return found

    def _sentence(self, lost: list[TableFinding]) -> str:
        numbers = [finding.number for finding in lost]
        for finding in lost:
            if reason := reason_closed(finding.noted.owner):
                return reason
        return (
            f"{self._loss(lost[0])} It concerns partitions {numbers}, and nothing was changed. Start the worker that"
            " owned it last, or restore Kafka's data, or take this worker's tables as the truth: 'everwatch worker"
            " --rebuild-changelog'."
        )

    def _loss(self, finding: TableFinding) -> str:
        held, owner = finding.held, finding.noted.owner
        made_anew = owner is not None and is_another(held, owner)
        what = "was made anew" if made_anew else f"ends at offset {held.end}"
        mine = f"offset {finding.table.offset}" if finding.table else "nothing"
        who = f"; worker {owner.member} owned it last, up to offset {owner.offset}" if owner else ""
        return (
            f"The changelog {self._topic} has lost records: that of partition {finding.number} {what}, and the table of"
            f" this worker has {mine}{who}."
        )
