"""A store in memory, for tests and trials: the same promises as the database, and nothing kept.

All in one file: what is written, purged and deleted by age are the same few dictionaries.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from everwatch.model import Monitor, Result, Status, User
from everwatch.schedule.duration import DAY_MS
from everwatch.store.bulk_statements import Row
from everwatch.store.entry_sequence import ending_of
from everwatch.store.facts import RESULTS_FROM
from everwatch.store.letter_rows import asked_of
from everwatch.store.letters import Redrive, StoredLetter
from everwatch.store.memory_reader import MemoryReader
from everwatch.store.partition import Partition
from everwatch.store.plan_keeping import KEEP_ALL, NO_PLANS, Keep, PlanKeeping
from everwatch.store.purge_filter import without_purged
from everwatch.store.purged_users import MOST_TO_DO, AskedPurge, Purge, PurgeOutcome, StoredPurge, hash_of
from everwatch.store.rollup_rows import first_day
from everwatch.store.rollups import Key, Merged, ResultChanges, Since, additions, condensed
from everwatch.store.row_mapping import result_row
from everwatch.store.sink_batch import CatalogueEntry, Received, SinkBatch
from everwatch.store.sketch import LONGEST_TEXT, compacted
from everwatch.store.stored_values import DatabaseVolume, FormerSpec, StoredResult, Stretch
from everwatch.store.task_records import cancelled, following, is_first, task_of

# what begins no id
_DAY, _LETTER, _REPLY, _AUDIT, _SPEC = "\0day", "\0letter", "\0reply", "\0audit", "\0spec"


class MemoryStore(MemoryReader):
    """``ResultStore`` and ``Reader`` in one; see there for what the methods promise."""

    def __init__(self, keep: Keep = KEEP_ALL) -> None:
        super().__init__()
        self._keep = keep
        self._plans = NO_PLANS
        self._thinned: set[tuple[str, str, int]] = set()
        # of purged users, by a hash of their id: when they ended, and until when that matters
        self._purged: dict[str, tuple[int, int]] = {}

    def apply(self, batch: SinkBatch) -> None:
        stored = dict(self._offsets)
        ended_at = {user: ended for user, (ended, until) in self._purged.items() if until >= batch.stored_at}
        if ended_at:
            batch = without_purged(batch, ended_at)
        self._begun_at = self._begun_at or batch.stored_at
        for result in batch.results:
            if result.offset >= stored.get(result.source, 0):
                self._put_result(result.value, batch.stored_at)
        for transition in batch.transitions:
            if transition.offset >= stored.get(transition.source, 0):
                value = transition.value
                self._transitions.setdefault((value.user_id, value.monitor_id, value.at, value.to_state), value)
        for letter in batch.letters:
            if letter.offset >= stored.get(letter.source, 0):
                self._put_letter(letter.value)
        for reply in batch.replies:
            if reply.offset >= stored.get(reply.source, 0):
                answer = reply.value
                key = (answer.user_id, *asked_of(answer), answer.at, answer.answer.value)
                self._replies.setdefault(key, answer)
        for noted in batch.audit:
            if noted.offset >= stored.get(noted.source, 0):
                self._audit.setdefault(noted.value.entry_id, noted.value)
        for asked in batch.purges:
            if asked.offset >= stored.get(asked.source, 0):
                self._put_purge(asked.value)
        for entry in batch.entries:
            if entry.offset >= stored.get(entry.source, 0):
                self._put_entry(entry)
        for partition, offset in batch.offsets.items():
            self._offsets[partition] = max(offset, stored.get(partition, 0))

    def _put_purge(self, asked: AskedPurge) -> None:
        earlier, known = self._purges.get(asked.key, (None, None))
        deleted: dict[str, int] = {}
        if earlier is not None and known is not None:
            if known.ended_at >= asked.ended_at:
                return
            if not known.over_at and earlier.partition == asked.partition:
                asked = replace(asked, was_watched=asked.was_watched or earlier.was_watched)
                deleted = known.deleted
        self._purges[asked.key] = asked, StoredPurge(asked.ended_at, asked.was_watched, deleted, 0, PurgeOutcome())

    def begin_purge(self, *begun: Purge) -> None:
        if begun:
            first = min(each.ended_at for each in begun)
            self._purged = {user: ended for user, ended in self._purged.items() if ended[1] >= first}
        for each in begun:
            ended_at, until = self._purged.get(hash_of(each.user_id), (0, 0))
            self._purged[hash_of(each.user_id)] = (max(ended_at, each.ended_at), max(until, each.kept_until))

    def purge_some(self, purge: Purge, most: int) -> dict[str, int]:
        user_id, ended_at = purge.user_id, purge.ended_at
        everything = not purge.is_passed(self._offsets)

        def is_old(owner: str, instant: int, until: int | None = None) -> bool:
            return owner == user_id and (everything or instant <= ended_at or (until is not None and until <= ended_at))

        results = [
            key for key, one in self._results.items() if key[0] == user_id and one.result.scheduled_at <= ended_at
        ]
        transitions = [key for key, one in self._transitions.items() if key[0] == user_id and one.at <= ended_at]
        spans = {(key, own): one for key, some in self._history.items() for own, one in some.items()}
        history = [place for place, one in spans.items() if is_old(one.user_id, one.since, one.until)][:most]
        tasks = [key for key, one in self._tasks.items() if is_old(key[0], one.created_at)]
        monitors = [key for key, one in self._monitors.items() if is_old(key[0], one.since)]
        users = [key for key, (one, _) in self._users.items() if is_old(key, one.registered_at)]
        replies = [key for key in self._replies if key[0] == user_id and key[3] <= ended_at]
        letters = [k for k, one in self._letters.items() if one.user_id == user_id and one.known_at <= ended_at]
        audit = [key for key, one in self._audit.items() if one.user_id == user_id and one.at <= ended_at]
        specs = [
            (key, version)
            for key, some in self._former_specs.items()
            for version, one in some.items()
            if is_old(key[0], one.replaced_at)
        ][:most]
        for key, version in specs:
            del self._former_specs[key][version]
        for key, own in history:
            del self._history[key][own]
        deleted = {
            "results": _drop(self._results, results[:most]),
            "hourly_rollups": _drop(
                self._hours, [k for k in self._hours if k[0] == user_id and k[2] <= ended_at][:most]
            ),
            "daily_rollups": _drop(self._days, [k for k in self._days if k[0] == user_id and k[2] <= ended_at][:most]),
            "transitions": _drop(self._transitions, transitions[:most]),
            "replies": _drop(self._replies, replies[:most]),
            "audit_log": _drop(self._audit, audit[:most]),
            "dead_letters": _drop(self._letters, letters[:most]),
            "monitor_history": len(history),
            "former_specs": len(specs),
            "tasks": _drop(self._tasks, tasks[:most]),
            "monitors": _drop(self._monitors, monitors[:most]),
            "users": _drop(self._users, users[:most]),
        }
        deleted = {name: count for name, count in deleted.items() if count}
        if purge.key in self._purges:
            asked, known = self._purges[purge.key]
            total = {name: known.deleted.get(name, 0) + deleted.get(name, 0) for name in known.deleted | deleted}
            self._purges[purge.key] = asked, replace(known, deleted=total)
        return deleted

    def purges_to_do(self, after: AskedPurge | None = None) -> list[AskedPurge]:
        left = sorted((a.ended_at, a.key, a) for a, known in self._purges.values() if not known.over_at)
        return [a for at, key, a in left if after is None or (at, key) > (after.ended_at, after.key)][:MOST_TO_DO]

    def partition_of_watched(self, user_id: str, until: int) -> int | None:
        user, partition = self._users.get(user_id, (None, None))
        return partition if user is not None and user.registered_at <= until else None

    def finish_purge(self, asked: AskedPurge, outcome: PurgeOutcome, now: int) -> None:
        newest, known = self._purges[asked.key]
        if not known.over_at and known.ended_at == asked.ended_at:
            self._purges[asked.key] = replace(newest, user_id=""), replace(known, over_at=now, outcome=outcome)

    def drop_old_pages(self) -> None:
        """Nothing is kept of deleted rows."""

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._offsets.pop(partition, None)

    def trim(self, now: int, most: int, plans: PlanKeeping = NO_PLANS) -> int:
        self._plans = plans
        deleted = 0
        for kind, ages in zip(Keep._fields, self._ages(), strict=True):
            found = sorted((age, key) for key, age in ages.items() if self._is_too_old(kind, key, age, now))
            old = [key for _, key in found[:most]]
            if kind == "results" and old:
                self._results_from = max(self._results_from, now - min(self._kept(kind, key) for key in old))
            self._forget(old)
            deleted += len(old)
        return deleted + self._condense(now, most) + self._thin(now)

    def volume(self) -> DatabaseVolume:
        return DatabaseVolume(0, min((one.result.scheduled_at for one in self._results.values()), default=0))

    def rebuild_rollups(self, from_ms: int, after: str = "", most: int = 50_000) -> str | None:
        begin = first_day(from_ms, {RESULTS_FROM: self._results_from})
        users = sorted({user_id for user_id, *_ in self._results if user_id > after})[:most]
        last = users[-1] if len(users) == most else None

        def is_meant(user_id: str, instant: int) -> bool:
            return user_id > after and (last is None or user_id <= last) and instant >= begin

        for held in (self._hours, self._days):
            _drop(held, [key for key in held if is_meant(key[0], key[2])])
        for (user_id, scheduled_at, *_), stored in self._results.items():
            if is_meant(user_id, scheduled_at):
                row = result_row(stored.result, 0, stored.result.status.value)
                self._count(ResultChanges([row]), Since())
        return last

    def _ages(self) -> Iterator[dict[Any, int]]:
        """By the key of each: of results, transitions, stretches and tasks; what lasts has no age."""
        yield {
            key: max(stored.result.scheduled_at, stored.result.skipped_until) for key, stored in self._results.items()
        }
        yield {key: one.at for key, one in self._transitions.items()}
        yield {
            (*key, *own): stretch.until
            for key, stretches in self._history.items()
            for own, stretch in stretches.items()
            if stretch.until is not None
        }
        yield {key: task.ended_at for key, task in self._tasks.items() if task.ended_at}
        # see _condense
        yield {}
        yield {(_DAY, *key): key[2] for key in self._days}
        # see _thin
        yield {}
        yield {(_LETTER, letter.user_id, *key): letter.refused_at for key, letter in self._letters.items()}
        yield {(_REPLY, *key): reply.at for key, reply in self._replies.items()}
        yield {(_AUDIT, entry.user_id, key): entry.at for key, entry in self._audit.items()}
        yield {
            (_SPEC, user_id, monitor_id, version): one.replaced_at
            for (user_id, monitor_id), some in self._former_specs.items()
            for version, one in some.items()
        }

    def _kept(self, kind: str, key: Sequence[Any]) -> int:
        user = self.user(key[1] if key[0] in (_DAY, _LETTER, _REPLY, _AUDIT, _SPEC) else key[0])
        return self._plans.kept_ms(user.plan if user else "", kind, self._keep)

    def _is_too_old(self, kind: str, key: Sequence[Any], age: int, now: int) -> bool:
        kept = self._kept(kind, key)
        return bool(kept) and age < now - kept

    def _thin(self, now: int) -> int:
        days: dict[tuple[str, str, int], list[StoredResult]] = {}
        for one in sorted(self._results.values(), key=lambda s: (s.result.scheduled_at, s.result.attempt)):
            key = (one.result.user_id, one.result.monitor_id, one.result.scheduled_at // DAY_MS)
            # a day is old when its end is
            if key not in self._thinned and self._is_too_old("every_result", key, (key[2] + 1) * DAY_MS - 1, now):
                days.setdefault(key, []).append(one)
        for key, some in days.items():
            for before, one in pairwise(some[:-1]):
                if {before.result.status, one.result.status} == {Status.SUCCESS} and not one.result.skipped_until:
                    self._results.pop(_key_of(one.result))
            self._thinned.add(key)
            self._results_from = max(self._results_from, (key[2] + 1) * DAY_MS)
        return len(days)

    def _condense(self, now: int, most: int) -> int:
        def is_old(key: Key) -> bool:
            until = now - self._kept("hourly_rollups", key)
            return until < now and key[2] < until - until % DAY_MS

        old = [key for key in sorted(self._hours, key=lambda key: key[2]) if is_old(key)]
        hours = [self._hours.pop(key) for key in old[:most]]
        self._add(self._days, condensed(hours))
        return len(hours)

    def _count(self, changes: ResultChanges, since: Since) -> None:
        self._add(self._hours, additions(changes, since))

    def _add(self, held: dict[Key, Row], rows: Iterable[Row]) -> None:
        for row in rows:
            key, before = row[:3], held.get(row[:3], (*row[:3], 0, 0, 0, 0, 0, ""))
            *counts, durations = (one + other for one, other in zip(before[3:], row[3:], strict=True))
            held[key] = (*key, *counts, durations if len(durations) <= LONGEST_TEXT else compacted(durations))

    def _forget(self, keys: list[Any]) -> None:
        for key in keys:
            self._results.pop(key, None)
            self._transitions.pop(key, None)
            self._history.get(key[:2], {}).pop(key[2:], None)
            self._tasks.pop(key, None)
            if key[0] == _DAY:
                self._days.pop(key[1:], None)
            elif key[0] == _LETTER:
                self._letters.pop(key[2:], None)
            elif key[0] == _REPLY:
                self._replies.pop(key[1:], None)
            elif key[0] == _AUDIT:
                self._audit.pop(key[2], None)
            elif key[0] == _SPEC:
                self._former_specs[key[1:3]].pop(key[3])

    def _put_result(self, new: Result, stored_at: int) -> None:
        key = _key_of(new)
        old, row = self._results.get(key), result_row(new, stored_at, new.status.value)
        since = Since(0, self._results_from)
        if old is None:
            self._results[key] = StoredResult(new, stored_at, 1)
            self._count(ResultChanges([row]), since)
            return
        self._count(ResultChanges((), [Merged(row, old.result.status.value, old.result.skipped_count)]), since)
        ran_at_last = old.result.status is Status.SKIPPED and new.status is not Status.SKIPPED
        kept, kept_at = (new, stored_at) if ran_at_last else (old.result, old.stored_at)
        spanning = replace(
            kept,
            skipped_until=max(old.result.skipped_until, new.skipped_until),
            skipped_count=max(old.result.skipped_count, new.skipped_count),
        )
        self._results[key] = StoredResult(spanning, kept_at, old.deliveries + 1)

    def _put_letter(self, new: StoredLetter | Redrive) -> None:
        if isinstance(new, StoredLetter):
            self._letters.setdefault((new.partition, new.offset, new.refused_at), new)
            return
        place = (new.partition, new.offset)
        key = max((key for key in self._letters if key[:2] == place), default=None)
        if key is not None and self._letters[key].redriven_at <= new.at:
            self._letters[key] = replace(self._letters[key], redriven_at=new.at, redriven_to=new.to)

    def _put_entry(self, received: Received[CatalogueEntry]) -> None:
        entry, timestamp = received.value, received.timestamp
        key = (entry.user_id, entry.monitor_id)
        if isinstance(entry.value, User):
            self._users[entry.user_id] = entry.value, received.source.number
        elif isinstance(entry.value, Monitor):
            self._keep_former_spec(key, entry.value, timestamp)
            self._monitors[key] = entry.value
            self._put_stretch(entry.value)
            self._put_task(key, entry.value, received.source.number)
        elif entry.monitor_id:
            self._monitors.pop(key, None)
            self._former_specs.pop(key, None)
            self._end(key, timestamp)
        else:
            self._users.pop(entry.user_id, None)
            for other in [k for k in self._monitors.keys() | self._history.keys() if k[0] == entry.user_id]:
                self._monitors.pop(other, None)
                self._former_specs.pop(other, None)
                self._end(other, timestamp)

    def _keep_former_spec(self, key: tuple[str, str], new: Monitor, at: int) -> None:
        old = self._monitors.get(key)
        if old is not None and old.version < new.version:
            former = FormerSpec(old.version, old.spec, old.origin, at)
            self._former_specs.setdefault(key, {}).setdefault(old.version, former)

    def _put_stretch(self, monitor: Monitor) -> None:
        ending = ending_of(monitor)
        own = (monitor.version, monitor.since)
        stretches = self._history.setdefault((monitor.user_id, monitor.monitor_id), {})
        for key, stretch in stretches.items():
            if key != own and stretch.until is None and (key[0] < own[0] or stretch.since <= monitor.since):
                stretches[key] = replace(stretch, until=ending.others_until)
            elif key == own and stretch.until is None and not ending.has_own:
                stretches[key] = replace(stretch, until=monitor.since)
        if ending.has_own:
            spec = monitor.spec
            stretches[own] = Stretch(
                monitor.user_id,
                monitor.monitor_id,
                *own,
                ending.own_until,
                spec.kind,
                spec.schedule,
                spec.policy,
                spec.start_at,
                spec.end_at,
                spec.max_runs,
                monitor.agenda.runs,
                monitor.agenda.ends_at,
            )

    def _put_task(self, key: tuple[str, str], monitor: Monitor, partition: int) -> None:
        before, task = self._tasks.pop(key, None), task_of(monitor, partition)
        if task is not None:
            self._tasks[key] = task if before is None or is_first(monitor) else following(before, task)

    def _end(self, key: tuple[str, str], at: int) -> None:
        if key in self._tasks:
            self._tasks[key] = cancelled(self._tasks[key], at)
        stretches = self._history.get(key, {})
        for own, stretch in stretches.items():
            if stretch.until is None:
                stretches[own] = replace(stretch, until=at)


def _drop(held: dict[Any, Any], keys: list[Any]) -> int:
    for key in keys:
        del held[key]
    return len(keys)


def _key_of(result: Result) -> tuple[str, int, str, int, str]:
    return result.user_id, result.scheduled_at, result.monitor_id, result.attempt, result.region
