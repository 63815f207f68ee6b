"""Journal of roll-ups: what large batches add to them, kept as it came until many additions make one row.

A monitor has one result in a batch of thousands, as a rule. Added at once, each would change a row of its own in
``hourly_rollups``, which costs more than storing the result. So the transaction of a large batch writes its additions
down, in a few rows of packed columns, and every ten minutes a transaction of its own folds what was written down
meanwhile into the roll-ups and deletes it. Each is one transaction, so a process that is killed at any time loses no
result and counts none twice. A sum does not depend on its order: sinks fold what others have written, and small
batches add to roll-ups directly.

Users are spread over buckets. A reader adds to the roll-ups of a monitor what its user's bucket holds of it.
"""

from collections.abc import Collection, Iterable
from typing import Any
from zlib import crc32

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, literal_column, select

from everwatch.core.errors import StoreError
from everwatch.model import Status
from everwatch.schedule.duration import HOUR_MS, MINUTE_MS
from everwatch.store import sketch
from everwatch.store.bulk_statements import Row
from everwatch.store.purge_rows import overwriting
from everwatch.store.rollups import ResultChanges, Since, added, additions
from everwatch.store.sql_schema import STATUS_CODES, results, rollup_journal

BUCKETS = 256
FEWEST_JOURNALED = 2_000
"""Results of a batch from which on they are written down: smaller ones change few rows."""
FOLD_EVERY_MS = 10 * MINUTE_MS
"""Time in which each bucket is folded once."""
MOST_IN_BUCKET = 80_000
"""Results of a bucket after which it is folded earlier."""
MOST_BYTES = 4_000_000
"""Bytes of the journal that are folded at once: those of about 100,000 results."""

_VERSION = 1
_AT_STATUS, _AT_DURATION, _AT_SKIPPED = map(results.c.keys().index, ("status", "duration_ms", "skipped_count"))
_SUCCESS = {Status.SUCCESS.value, STATUS_CODES[Status.SUCCESS]}

_Row = tuple[str, str, int, int, int, int, int, int, str]


class JournalRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Additions to roll-ups of a bucket, as one row of the journal holds them.

    Successes that stand for no skipped tick, column by column: ``hours`` since the epoch and ``durations`` in ms.
    ``others``: rows of ``hourly_rollups``.
    """

    version: int
    user_ids: list[str]
    monitor_ids: list[str]
    hours: list[int]
    durations: list[float]
    others: list[_Row]


def _decode(body: bytes) -> JournalRow:
    found = _decoded(body)
    if found.version != _VERSION:
        # a sink of another version wrote it, which folds it when it runs again
        raise StoreError(f"The journal of roll-ups has a row of version {found.version}: run that sink once more.")
    return found


_encode = msgspec.msgpack.Encoder().encode
_decoded = msgspec.msgpack.Decoder(JournalRow).decode


def bucket_of(user_id: str) -> int:
    """Return the bucket of a user: for good, since it is stored."""
    return crc32(user_id.encode()) % BUCKETS


def written(changes: ResultChanges, since: Since) -> list[tuple[int, bytes]]:
    """Return buckets, and what a batch adds to their roll-ups, as rows of the journal."""
    earliest = max(since)
    inserted: list[list[Row]] = [[] for _ in range(BUCKETS)]
    for row in changes.inserted:
        if row[1] >= earliest:
            inserted[crc32(row[0].encode()) % BUCKETS].append(row)
    merged: list[list[Row]] = [[] for _ in range(BUCKETS)]
    for row in additions(ResultChanges((), changes.merged), since):
        merged[bucket_of(row[0])].append(row)
    found = []
    for bucket, (rows, others) in enumerate(zip(inserted, merged, strict=True)):
        if not rows and not others:
            continue
        plain = [row for row in rows if row[_AT_STATUS] in _SUCCESS and not row[_AT_SKIPPED]]
        if len(plain) < len(rows):
            unusual = (row for row in rows if row[_AT_STATUS] not in _SUCCESS or row[_AT_SKIPPED])
            others = [*others, *additions(ResultChanges(unusual), since)]
        columns = JournalRow(
            _VERSION,
            [row[0] for row in plain],
            [row[2] for row in plain],
            [row[1] // HOUR_MS for row in plain],
            [row[_AT_DURATION] for row in plain],
            others,
        )
        found.append((bucket, _encode(columns)))
    return found


def folded(bodies: Iterable[bytes]) -> list[Row]:
    """Return the sums of rows of the journal: rows of ``hourly_rollups``, in the order of their key."""
    durations: dict[tuple[str, str, int], list[float]] = {}
    others: list[Row] = []
    for body in bodies:
        some = _decode(body)
        keys = zip(some.user_ids, some.monitor_ids, some.hours, strict=True)
        for key, duration in zip(keys, some.durations, strict=True):
            held = durations.get(key)
            if held is None:
                durations[key] = [duration]
            else:
                held.append(duration)
        others += some.others
    return added([*(_row(*key, held) for key, held in durations.items()), *others])


def _row(user_id: str, monitor_id: str, hour: int, durations: list[float]) -> Row:
    us = sum([round(duration * 1_000) for duration in durations])
    text = sketch.text_of_durations(durations)
    return (user_id, monitor_id, hour * HOUR_MS, len(durations), 0, 0, 0, us, text)


class RollupJournal:
    """The table of the journal, in transactions of others."""

    def __init__(self, on_postgresql: bool) -> None:
        self._on_postgresql = on_postgresql

    def put(self, connection: Connection, rows: list[tuple[int, bytes]]) -> None:
        """Write down what a batch adds: ``written``."""
        if not rows:
            return
        if self._on_postgresql:
            from everwatch.store.copied_results import copy_rows  # its driver is imported where it is used

            copy_rows(connection, "rollup_journal", ["bucket", "additions"], ["int4", "bytea"], rows)
        else:
            connection.exec_driver_sql("INSERT INTO rollup_journal (bucket, additions) VALUES (?, ?)", rows)

    def parts(self, connection: Connection, buckets: Collection[int]) -> list[list[int]]:
        """Return those of the buckets that hold something, in parts that are small enough to be folded at once."""
        c = rollup_journal.c
        size = func.sum(func.length(c.additions))
        found = connection.execute(
            select(c.bucket, size).where(c.bucket.in_(buckets)).group_by(c.bucket).order_by(c.bucket)
        )
        parts: list[list[int]] = []
        together = MOST_BYTES
        for bucket, held in found:
            if together + held > MOST_BYTES:
                parts.append([])
                together = 0
            parts[-1].append(bucket)
            together += held
        return parts

    def take(self, connection: Connection, buckets: Collection[int], *, all_of_it: bool = False) -> list[Row]:
        """Delete what was written down of some buckets; return the sums, in the order of their key.

        Rows that another transaction holds are left to it; ``all_of_it``: wait for them.
        """
        is_meant = rollup_journal.c.bucket.in_(buckets)
        if not self._on_postgresql:
            # the write lock is held
            bodies = connection.execute(select(rollup_journal.c.additions).where(is_meant)).scalars().all()
            if bodies:
                # its rows name users, who may be purged later
                with overwriting(connection):
                    connection.execute(delete(rollup_journal).where(is_meant))
            return folded(bodies)
        taking = delete(rollup_journal)
        if all_of_it:
            taking = taking.where(is_meant)
        else:
            place: ColumnElement[Any] = literal_column("ctid")
            free = select(place).select_from(rollup_journal).where(is_meant).with_for_update(skip_locked=True)
            taking = taking.where(place == func.any(func.array(free.scalar_subquery())))
        return folded(body for (body,) in connection.execute(taking.returning(rollup_journal.c.additions)))


def waiting(connection: Connection, user_id: str, monitor_id: str) -> list[Row]:
    """Return what is written down of a monitor: rows of ``hourly_rollups``, each hour once."""
    c = rollup_journal.c
    rows: list[Row] = []
    for (body,) in connection.execute(select(c.additions).where(c.bucket == bucket_of(user_id))):
        some = _decode(body)
        place = -1
        while (place := _next(some.user_ids, user_id, place + 1)) >= 0:
            if some.monitor_ids[place] == monitor_id:
                rows.append(_row(user_id, monitor_id, some.hours[place], [some.durations[place]]))
        rows += [row for row in some.others if row[0] == user_id and row[1] == monitor_id]
    return added(rows)


def _next(values: list[str], value: str, begin: int) -> int:
    """Return the place of the first such value from ``begin`` on, -1 if there is none."""
    try:
        return values.index(value, begin)
    except ValueError:
        return -1


class FoldingTurns:
    """Which buckets are to be folded next, so that each one is within ``FOLD_EVERY_MS``, in even steps. Pure.

    All sinks take the same bucket at the same time of day: the first one finds all of it.
    """

    def __init__(self) -> None:
        self._turn: int | None = None
        self._written = 0

    def note(self, results: int) -> None:
        """Note results that were written down."""
        self._written += results

    def due(self, now: int) -> list[int]:
        """Return the buckets whose turn has come by ``now`` (ms) since the last call; each of them once."""
        turn = now * BUCKETS // FOLD_EVERY_MS
        if self._turn is None or turn < self._turn - BUCKETS:
            # the first call, or a clock that was put back
            self._turn = turn
        steps = max(turn - self._turn, self._written // MOST_IN_BUCKET, 0)
        self._written -= self._written // MOST_IN_BUCKET * MOST_IN_BUCKET
        begin, self._turn = self._turn, self._turn + steps
        return [number % BUCKETS for number in range(max(begin, self._turn - BUCKETS), self._turn)]
