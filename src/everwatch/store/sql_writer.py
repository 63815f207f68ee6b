"""The store in an SQL database: one transaction for each batch, bulk statements inside."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from sqlalchemy import Connection, Dialect, Engine

from everwatch.core.config import Settings
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Monitor, User
from everwatch.store import letter_rows, purge_records, purge_rows, row_mapping, search
from everwatch.store.audit_log import entry_row
from everwatch.store.batch_statements import BatchStatements
from everwatch.store.bulk_statements import Row
from everwatch.store.counters import Counters, Tally
from everwatch.store.database import clear_errors, open_for_writing
from everwatch.store.database_status import volume_of
from everwatch.store.day_partitions import hold_days
from everwatch.store.entry_sequence import ending_of, into_waves
from everwatch.store.facts import BEGUN_AT
from everwatch.store.folding_beside import FoldingBeside
from everwatch.store.letters import Redrive, StoredLetter
from everwatch.store.offsets import Offsets
from everwatch.store.partition import Partition
from everwatch.store.plan_keeping import KEEP_ALL, NO_PLANS, Keep, PlanKeeping
from everwatch.store.purge_filter import users_of, without_purged
from everwatch.store.purged_users import AskedPurge, Purge, PurgeOutcome
from everwatch.store.result_writer import ResultsWriter, UpsertedResults
from everwatch.store.retention import Trimmer
from everwatch.store.rollup_journal import BUCKETS, FEWEST_JOURNALED, FoldingTurns, bucket_of
from everwatch.store.rollup_rows import RollupRows
from everwatch.store.search import monitor_text, user_text
from everwatch.store.sink_batch import CatalogueEntry, Received, SinkBatch, Value
from everwatch.store.sqlite import READS_ONLY
from everwatch.store.stored_values import DatabaseVolume
from everwatch.store.task_records import is_first, task_of


class SqlStore:
    """The sink's store in an SQL database; see ``ResultStore`` for what the methods promise."""

    def __init__(
        self,
        engine: Engine,
        keep: Keep = KEEP_ALL,
        *,
        until_archived: bool = False,
        fewest_journaled: int = FEWEST_JOURNALED,
    ) -> None:
        self._engine = engine
        self._new_trimmer = partial(Trimmer, engine, keep, until_archived=until_archived)
        self._trimmer = self._new_trimmer()
        self._statements = BatchStatements(engine.dialect)
        self._offsets = Offsets(engine.dialect)
        self._counters = Counters(engine.dialect)
        self._results = _results_writer(engine.dialect)
        self._rollups = RollupRows(engine.dialect, fewest_journaled)
        self._turns = FoldingTurns()
        self._closing = threading.Event()
        self._folding = FoldingBeside(self._fold) if engine.dialect.name == "postgresql" else None
        # whose turn has come; folded while the server stores a batch, since both want this process at other times
        self._due: set[int] = set()

    def offsets(self) -> dict[Partition, int]:
        with clear_errors(self._engine.url), self._engine.execution_options(**READS_ONLY).begin() as connection:
            return self._offsets.all(connection)

    def apply(self, batch: SinkBatch) -> None:
        with clear_errors(self._engine.url):
            self._results.prepare(self._engine, batch.results, batch.stored_at)
            self._due.update(self._turns.due(batch.stored_at))
            with self._engine.begin() as connection:
                journaled = self._apply(connection, batch)
            self._turns.note(journaled)
            # if that did not begin it
            self._begin_folding()

    def _fold(self, buckets: Collection[int]) -> None:
        """Fold buckets of the journal of roll-ups, apart from the batches before: these are stored already."""
        if not buckets:
            return
        with self._engine.execution_options(**READS_ONLY).begin() as connection:
            parts = self._rollups.parts_to_fold(connection, buckets)
        for part in parts:
            if self._closing.is_set():
                return  # the rest is in the journal for the next sink
            with self._engine.begin() as connection:
                self._rollups.fold(connection, part)

    def _begin_folding(self) -> None:
        due, self._due = self._due, set()
        if self._folding is None:
            self._fold(due)
        else:
            self._folding.begin(due)

    def _meanwhile(self, connection: Connection) -> Callable[[list[Row]], None]:
        """Return what is done beside, while the server stores rows."""
        prepare = self._rollups.preparing(connection)

        def work(rows: list[Row]) -> None:
            prepare(rows)
            if self._folding is not None:
                self._begin_folding()

        return work

    def begin_purge(self, *begun: Purge) -> None:
        if not begun:
            return
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            purge_rows.note(connection, begun)
        # a batch that was begun before the note could be read is waited for
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            self._offsets.lock(connection, self._offsets.all(connection).keys())

    def purge_some(self, purge: Purge, most: int) -> dict[str, int]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            # a sink that stores the deletion just now counts the same monitors out
            known = self._offsets.all(connection).keys() & purge.deletion.keys()
            # before any roll-up, as batches and rebuilding do
            stored = self._offsets.lock(connection, known)
            self._rollups.fold(connection, [bucket_of(purge.user_id)], all_of_it=True)
            deleted = purge_rows.delete_some(connection, purge, stored, most)
            if purge.key:
                purge_records.add_deleted(connection, purge.key, deleted)
            return deleted

    def purges_to_do(self, after: AskedPurge | None = None) -> list[AskedPurge]:
        with clear_errors(self._engine.url), self._engine.execution_options(**READS_ONLY).begin() as connection:
            return purge_records.purges_to_do(connection, after)

    def partition_of_watched(self, user_id: str, until: int) -> int | None:
        with clear_errors(self._engine.url), self._engine.execution_options(**READS_ONLY).begin() as connection:
            return purge_records.partition_of_watched(connection, user_id, until)

    def finish_purge(self, asked: AskedPurge, outcome: PurgeOutcome, now: int) -> None:
        with self._overwriting() as connection:
            purge_records.finish(connection, asked, outcome, now)

    def drop_old_pages(self) -> None:
        if self._engine.dialect.name == "sqlite":
            for table in search.TABLES:
                begins = True
                while self._merge_index(table, begins=begins):
                    begins = False
            with clear_errors(self._engine.url), self._engine.connect() as connection:
                # the driver's own connection: a checkpoint is no part of a transaction
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _merge_index(self, table: str, *, begins: bool) -> bool:
        with self._overwriting() as connection:
            return search.merge_on_sqlite(connection, table, begins=begins)

    @contextmanager
    def _overwriting(self) -> Iterator[Connection]:
        """A transaction whose deletions SQLite overwrites."""
        with (
            clear_errors(self._engine.url),
            self._engine.begin() as connection,
            purge_rows.overwriting(connection),
        ):
            yield connection

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            self._offsets.forget(connection, list(partitions))

    def trim(self, now: int, most: int, plans: PlanKeeping = NO_PLANS) -> int:
        if plans != self._trimmer.plans:
            self._trimmer = self._new_trimmer(plans=plans)
        with clear_errors(self._engine.url):
            # in case no batch comes that would
            self._fold(self._turns.due(now))
            return self._trimmer.trim(now, most)

    def volume(self) -> DatabaseVolume:
        with clear_errors(self._engine.url), self._engine.execution_options(**READS_ONLY).begin() as connection:
            return volume_of(connection, self._engine.url)

    def rebuild_rollups(self, from_ms: int, after: str = "", most: int = 50_000) -> str | None:
        with clear_errors(self._engine.url):
            # so that little is left for the time in which nothing can be stored
            self._fold(range(BUCKETS))
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            # nothing is deleted and no sink stores anything until the commit; on SQLite the write lock sees to that
            hold_days(connection)
            self._offsets.lock(connection, self._offsets.all(connection).keys())
            return self._rollups.rebuild(connection, after, from_ms, most)

    def close(self) -> None:
        self._closing.set()
        if self._folding is not None:
            self._folding.close()
        self._results.close()
        self._engine.dispose()

    def _apply(self, connection: Connection, batch: SinkBatch) -> int:
        """Store a batch; return how many of its results count by the journal of roll-ups."""
        run = self._statements
        begins = self._offsets.is_empty(connection)
        stored = self._offsets.lock(connection, batch.offsets.keys())
        fresh = _Fresh(stored)
        # after the lock: see begin_purge
        if purged := purge_rows.noted(connection, batch.stored_at, partial(users_of, batch)):
            batch = without_purged(batch, purged)
        if begins:
            run.begun.run(connection, [(BEGUN_AT, batch.stored_at)])
        results = fresh.of(batch.results)
        changes = self._results.put(connection, results, batch.stored_at, self._meanwhile(connection))
        journaled = self._rollups.count(connection, changes)
        run.transitions.run(connection, [row_mapping.transition_row(each) for each in fresh.of(batch.transitions)])
        run.replies.run(connection, [letter_rows.reply_row(each) for each in fresh.of(batch.replies)])
        run.audit.run(connection, [entry_row(each) for each in fresh.of(batch.audit)])
        if batch.purges:
            purge_records.put_purges(connection, fresh.of(batch.purges))
        if batch.letters:
            self._apply_letters(connection, fresh.of(batch.letters))
        tally = Tally()
        for wave in into_waves(fresh.received(batch.entries)):
            self._apply_entries(connection, wave, tally)
        self._counters.write(connection, tally)
        self._offsets.put(connection, batch.offsets, stored)
        return journaled

    def _apply_letters(self, connection: Connection, letters: Sequence[StoredLetter | Redrive]) -> None:
        """Store dead letters, and then their redrives: a note stands behind its letter."""
        run = self._statements
        run.letters.run(connection, [letter_rows.letter_row(one) for one in letters if isinstance(one, StoredLetter)])
        notes = [one for one in letters if isinstance(one, Redrive)]
        run.redrives.run(connection, [(one.at, one.to, one.partition, one.offset) for one in notes])

    def _apply_entries(self, connection: Connection, wave: list[Received[CatalogueEntry]], tally: Tally) -> None:
        """Store entries that do not depend on each other's order."""
        run = self._statements
        stored = self._counters.take(connection, wave, tally)
        gone_users: list[Row] = []
        gone_monitors: list[Row] = []
        put_users: list[Row] = []
        put_monitors: list[Row] = []
        ended_others: list[Row] = []
        begun: list[Row] = []
        never_begun: list[Row] = []
        new_tasks: list[Row] = []
        later_tasks: list[Row] = []
        no_tasks: list[Row] = []
        labels: list[Row] = []
        changed: list[Row] = []
        texts_of_users: list[Row] = []
        texts_of_monitors: list[Row] = []
        for received in wave:
            entry, partition = received.value, received.source.number
            if isinstance(entry.value, User):
                put_users.append(row_mapping.user_row(entry.value, partition))
                texts_of_users.append((entry.user_id, user_text(entry.user_id)))
            elif isinstance(entry.value, Monitor):
                monitor, ending = entry.value, ending_of(entry.value)
                texts = row_mapping.spec_texts(monitor.spec)
                target = target_of_config(monitor.spec.kind, monitor.spec.config)
                plan = stored.plan_of(monitor.user_id)
                put_monitors.append(row_mapping.monitor_row(monitor, partition, texts, plan, target))
                labels += row_mapping.label_rows(monitor)
                known = stored.monitors.get((entry.user_id, entry.monitor_id))
                if known is None or (known.name, known.target) != (monitor.spec.name, target):
                    text = monitor_text(entry.monitor_id, monitor.spec.name, target)
                    texts_of_monitors.append((entry.user_id, entry.monitor_id, text))
                if known is not None and known.version < monitor.version:
                    changed.append((received.timestamp, entry.user_id, entry.monitor_id))
                key = (monitor.user_id, monitor.monitor_id, monitor.version, monitor.since)
                ended_others.append((ending.others_until, *key))
                if ending.has_own:
                    begun.append(row_mapping.history_row(monitor, ending.own_until, texts))
                else:
                    never_begun.append((monitor.since, *key))
                task = task_of(monitor, partition)
                if task is None:
                    no_tasks.append(key[:2])
                else:
                    (new_tasks if is_first(monitor) else later_tasks).append(row_mapping.task_row(task))
            elif entry.monitor_id:
                gone_monitors.append((received.timestamp, entry.user_id, entry.monitor_id))
            else:
                gone_users.append((received.timestamp, entry.user_id))
        run.cancel_tasks_of_user.run(connection, gone_users)
        run.cancel_task.run(connection, gone_monitors)
        run.delete_task.run(connection, no_tasks)
        run.new_tasks.run(connection, new_tasks)
        run.later_tasks.run(connection, later_tasks)
        run.end_of_user.run(connection, gone_users)
        run.delete_user.run(connection, [row[1:] for row in gone_users])
        run.delete_monitors_of_user.run(connection, [row[1:] for row in gone_users])
        run.end_of_monitor.run(connection, gone_monitors)
        run.delete_monitor.run(connection, [row[1:] for row in gone_monitors])
        run.delete_labels_of_user.run(connection, [row[1:] for row in gone_users])
        run.delete_labels.run(connection, [row[1:] for row in gone_monitors] + [row[:2] for row in put_monitors])
        run.labels.run(connection, labels)
        run.delete_texts_of_user.run(connection, [row[1:] for row in gone_users])
        run.delete_text_of_user.run(connection, [row[1:] for row in gone_users])
        run.delete_text.run(connection, [row[1:] for row in gone_monitors])
        run.texts_of_users.run(connection, texts_of_users)
        run.texts_of_monitors.run(connection, texts_of_monitors)
        run.delete_former_specs_of_user.run(connection, [row[1:] for row in gone_users])
        run.delete_former_specs.run(connection, [row[1:] for row in gone_monitors])
        run.former_specs.run(connection, changed)
        run.users.run(connection, put_users)
        run.monitors.run(connection, put_monitors)
        run.end_others.run(connection, ended_others)
        run.end_own.run(connection, never_begun)
        run.history.run(connection, begun)


def open_store(settings: Settings) -> SqlStore:
    """The store at ``settings.database_url``, made or brought up to date where needed. Raises StoreError, StoreBusy."""
    engine = open_for_writing(settings.database_url)
    return SqlStore(engine, Keep.of(settings), until_archived=settings.keep_results_until_archived)


class _Fresh:
    """Tells records that were not stored before, by their offset."""

    def __init__(self, stored: dict[Partition, int]) -> None:
        self._stored = stored

    def received(self, some: Sequence[Received[Value]]) -> list[Received[Value]]:
        """Return those of some records that are new."""
        stored_to = self._stored.get
        return [each for each in some if each.offset >= stored_to(each.source, 0)]

    def of(self, some: Sequence[Received[Value]]) -> list[Value]:
        """Return the values of those that are new."""
        stored_to = self._stored.get
        return [each.value for each in some if each.offset >= stored_to(each.source, 0)]


def _results_writer(dialect: Dialect) -> ResultsWriter:
    if dialect.name == "postgresql":
        from everwatch.store.copied_results import CopiedResults  # its driver is imported where it is used

        return CopiedResults(dialect)
    return UpsertedResults(dialect)
