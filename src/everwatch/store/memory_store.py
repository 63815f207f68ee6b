"""A store in memory, for tests and trials: the same promises as the database, and nothing kept."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import AuditEntry, Monitor, Reply, Result, State, Status, Transition, User
from everwatch.schedule.duration import DAY_MS
from everwatch.store.audit_log import EVERY_ENTRY, AuditPlace, AuditSelection, is_entry_selected, place_of_entry
from everwatch.store.availability import Availability
from everwatch.store.bulk_statements import Row
from everwatch.store.entry_sequence import ending_of
from everwatch.store.facts import RESULTS_FROM
from everwatch.store.interface import (
    ALWAYS,
    EVERY_LETTER,
    CatalogueCounts,
    CatalogueEntry,
    Counts,
    Identity,
    ListedUser,
    MonitorCount,
    Received,
    Selection,
    SinkBatch,
    StoredResult,
    StoredTask,
    Stretch,
    TaskStatus,
    When,
)
from everwatch.store.letter_rows import asked_of
from everwatch.store.letters import (
    LetterCount,
    LetterPlace,
    LetterSelection,
    Redrive,
    StoredLetter,
    is_letter_selected,
    place_of_letter,
)
from everwatch.store.paging import Page, Sort, is_descending, no_state_of_users, page_in_memory, place_of
from everwatch.store.partition import Partition
from everwatch.store.past_reading import read_availability
from everwatch.store.plan_keeping import KEEP_ALL, NO_PLANS, Keep, PlanKeeping
from everwatch.store.purge_filter import without_purged
from everwatch.store.purged_users import Purge, hash_of
from everwatch.store.queries.events import ResultPlace, TransitionPlace, place_of_result, place_of_transition
from everwatch.store.queries.letters import ReplyPlace, place_of_reply
from everwatch.store.queries.matching import Facts, is_selected
from everwatch.store.queries.monitors import place_of_monitor
from everwatch.store.queries.tasks import Place as TaskPlace
from everwatch.store.queries.tasks import place_of_task
from everwatch.store.queries.users import place_of_user
from everwatch.store.rollup_counts import Rollup, Step
from everwatch.store.rollup_rows import first_day
from everwatch.store.rollups import Key, Merged, ResultChanges, Since, additions, by_day, condensed, rollup
from everwatch.store.row_mapping import result_row
from everwatch.store.search import needles_of, user_text
from everwatch.store.sketch import LONGEST_TEXT, compacted
from everwatch.store.task_records import as_of, cancelled, following, is_first, task_of

# what begins no id
_DAY, _LETTER, _REPLY, _AUDIT = "\0day", "\0letter", "\0reply", "\0audit"


class MemoryStore:
    """``Store`` and ``Reader`` in one; see there for what the methods promise."""

    def __init__(self, keep: Keep = KEEP_ALL) -> None:
        self._keep = keep
        self._plans = NO_PLANS
        self._results_from = 0
        self._thinned: set[tuple[str, str, int]] = set()
        self._offsets: dict[Partition, int] = {}
        self._begun_at = 0
        # of purged users, by a hash of their id: when they ended, and until when that matters
        self._purged: dict[str, tuple[int, int]] = {}
        self._results: dict[tuple[str, int, str, int], StoredResult] = {}
        self._transitions: dict[tuple[str, str, int, State], Transition] = {}
        # by partition, offset and instant
        self._letters: dict[tuple[int, int, int], StoredLetter] = {}
        # by user, id and kind of what is answered, instant and outcome
        self._replies: dict[tuple[str, str, str, int, str], Reply] = {}
        self._audit: dict[str, AuditEntry] = {}
        # each user with the number of its partition
        self._users: dict[str, tuple[User, int]] = {}
        self._monitors: dict[tuple[str, str], Monitor] = {}
        self._tasks: dict[tuple[str, str], StoredTask] = {}
        # by user and monitor, then by version and since
        self._history: dict[tuple[str, str], dict[tuple[int, int], Stretch]] = {}
        # rows by user, monitor and begin
        self._hours: dict[Key, Row] = {}
        self._days: dict[Key, Row] = {}

    def offsets(self) -> dict[Partition, int]:
        return dict(self._offsets)

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
        for entry in batch.entries:
            if entry.offset >= stored.get(entry.source, 0):
                self._put_entry(entry)
        for partition, offset in batch.offsets.items():
            self._offsets[partition] = max(offset, stored.get(partition, 0))

    def begin_purge(self, purge: Purge) -> None:
        self._purged = {user: ended for user, ended in self._purged.items() if ended[1] >= purge.ended_at}
        self._purged[hash_of(purge.user_id)] = (purge.ended_at, purge.kept_until)

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
            "tasks": _drop(self._tasks, tasks[:most]),
            "monitors": _drop(self._monitors, monitors[:most]),
            "users": _drop(self._users, users[:most]),
        }
        return {name: count for name, count in deleted.items() if count}

    def drop_old_pages(self) -> None:
        """Nothing is kept of what was deleted."""

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

    def close(self) -> None:
        """Nothing to release."""

    def results(
        self,
        user_id: str = "",
        monitor_id: str = "",
        *,
        status: str = "",
        kind: str = "",
        when: When = ALWAYS,
        after: str = "",
        limit: int = 100,
    ) -> Page[StoredResult]:
        def is_wanted(result: Result) -> bool:
            given = (user_id, monitor_id, status, kind)
            held = (result.user_id, result.monitor_id, result.status.value, result.kind)
            return all(one in ("", other) for one, other in zip(given, held, strict=True)) and _is_within(
                result.scheduled_at, when
            )

        found = [stored for stored in self._results.values() if is_wanted(stored.result)]
        question = ("results", user_id, monitor_id, status, kind, when)
        return page_in_memory(
            found,
            lambda stored: place_of_result(stored.result),
            place_of(question, after, ResultPlace),
            descending=True,
            limit=limit,
            question=question,
        )

    def transitions(
        self,
        user_id: str = "",
        monitor_id: str = "",
        *,
        state: str = "",
        kind: str = "",
        plan: str = "",
        target: str = "",
        alerts: bool = False,
        when: When = ALWAYS,
        after: str = "",
        limit: int = 100,
    ) -> Page[Transition]:
        found = [
            one
            for one in self._transitions.values()
            if user_id in ("", one.user_id)
            and monitor_id in ("", one.monitor_id)
            and state in ("", one.to_state)
            and kind in ("", one.kind)
            and plan in ("", one.plan)
            and target in ("", one.target)
            and (one.alert or not alerts)
            and _is_within(one.at, when)
        ]
        question = ("transitions", user_id, monitor_id, state, kind, plan, target, alerts, when)
        place = place_of(question, after, TransitionPlace)
        return page_in_memory(found, place_of_transition, place, descending=True, limit=limit, question=question)

    def dead_letters(
        self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> Page[StoredLetter]:
        question = ("dead letters", which, when)
        place = place_of(question, after, LetterPlace)
        found = self._letters_within(which, when)
        return page_in_memory(found, place_of_letter, place, descending=True, limit=limit, question=question)

    def dead_letter(self, partition: int, offset: int) -> StoredLetter | None:
        found = [one for place, one in self._letters.items() if place[:2] == (partition, offset)]
        return max(found, key=lambda one: one.refused_at, default=None)

    def count_letters(self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS) -> list[LetterCount]:
        kinds: dict[tuple[str, str, str], list[int]] = {}
        for letter in self._letters_within(which, when):
            kind = (letter.source_topic, letter.code, letter.alike)
            kinds.setdefault(kind, []).append(letter.refused_at)
        counts = [LetterCount(*kind, len(instants), max(instants)) for kind, instants in kinds.items()]
        return sorted(counts, key=lambda each: (-each.letters, *each))

    def replies(
        self, user_id: str, asked_id: str = "", *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> Page[Reply]:
        question = ("replies", user_id, asked_id, when)
        found = [
            reply
            for (owner, own_id, *_), reply in self._replies.items()
            if owner == user_id and asked_id in ("", own_id) and _is_within(reply.at, when)
        ]
        place = place_of(question, after, ReplyPlace)
        return page_in_memory(found, place_of_reply, place, descending=True, limit=limit, question=question)

    def audit(
        self, which: AuditSelection = EVERY_ENTRY, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> Page[AuditEntry]:
        question = ("audit", which, when)
        found = [each for each in self._audit.values() if is_entry_selected(which, each) and _is_within(each.at, when)]
        place = place_of(question, after, AuditPlace)
        return page_in_memory(found, place_of_entry, place, descending=True, limit=limit, question=question)

    def list_monitors(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> Page[Monitor]:
        question = ("monitors", which, sort, reverse)
        return page_in_memory(
            [monitor for monitor in self._monitors.values() if is_selected(which, self._facts(monitor))],
            lambda monitor: place_of_monitor(monitor, sort),
            place_of(question, after, tuple[str, str] if sort is Sort.ID else tuple[int, str, str]),
            descending=is_descending(sort, reverse),
            limit=limit,
            question=question,
        )

    def list_users(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> Page[ListedUser]:
        if sort is Sort.STATE_SINCE:
            raise no_state_of_users()
        question = ("users", which, sort, reverse)
        of_monitors = which._replace(contains="", prefix="")
        found = []
        for user_id, (user, _) in self._users.items():
            held = self.monitors(user_id)
            fits = which.user_id in ("", user_id) and which.plan in ("", user.plan)
            fits = fits and all(needle in user_text(user_id) for needle in needles_of(which))
            if which.names_monitors:
                fits = fits and any(is_selected(of_monitors, self._facts(monitor)) for monitor in held)
            if fits:
                found.append(ListedUser(user, dict(Counter(monitor.state for monitor in held))))
        return page_in_memory(
            found,
            lambda listed: place_of_user(listed.user, sort),
            place_of(question, after, tuple[str] if sort is Sort.ID else tuple[int, str]),
            descending=is_descending(sort, reverse),
            limit=limit,
            question=question,
        )

    def _facts(self, monitor: Monitor) -> Facts:
        user, spec = self.user(monitor.user_id), monitor.spec
        return Facts(
            monitor.user_id,
            monitor.monitor_id,
            monitor.state.value,
            spec.kind,
            user.plan if user else "",
            target_of_config(spec.kind, spec.config),
            spec.name,
            dict(spec.labels),
        )

    def user(self, user_id: str) -> User | None:
        found = self._users.get(user_id)
        return None if found is None else found[0]

    def partition_of(self, user_id: str) -> int | None:
        found = self._users.get(user_id)
        return None if found is None else found[1]

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        return self._monitors.get((user_id, monitor_id))

    def monitors(self, user_id: str) -> list[Monitor]:
        return [monitor for key, monitor in sorted(self._monitors.items()) if key[0] == user_id]

    def catalogue(self, user_id: str = "") -> Iterator[tuple[User, list[Monitor]]]:
        for name in sorted(self._users):
            if user_id in ("", name):
                yield self._users[name][0], self.monitors(name)

    def count_users(self) -> int:
        return len(self._users)

    def catalogue_counts(self) -> CatalogueCounts:
        held = Counter((facts.state, facts.kind, facts.plan) for facts in map(self._facts, self._monitors.values()))
        plans = Counter(user.plan for user, _ in self._users.values())
        return CatalogueCounts(
            tuple(MonitorCount(*key, number) for key, number in sorted(held.items())), dict(sorted(plans.items()))
        )

    def counts(self) -> Counts:
        by_state = dict(Counter(monitor.state for monitor in self._monitors.values()))
        return Counts(len(self._users), len(self._monitors), by_state, len(self._results))

    def task(self, user_id: str, task_id: str, now: int) -> StoredTask | None:
        found = self._tasks.get((user_id, task_id))
        return None if found is None else as_of(found, now)

    def tasks(
        self,
        user_id: str = "",
        status: str = "",
        from_ms: int = 0,
        until_ms: int = 0,
        *,
        now: int,
        after: str = "",
        limit: int = 100,
    ) -> Page[StoredTask]:
        question = ("tasks", user_id, status, from_ms, until_ms)
        found = [t for t in self._tasks_within(user_id, from_ms, until_ms, now) if status in ("", t.status)]
        place = place_of(question, after, TaskPlace)
        return page_in_memory(found, place_of_task, place, descending=False, limit=limit, question=question)

    def count_tasks(self, user_id: str = "", from_ms: int = 0, until_ms: int = 0, *, now: int) -> dict[str, int]:
        counts = dict.fromkeys(map(str, TaskStatus), 0)
        for task in self._tasks_within(user_id, from_ms, until_ms, now):
            counts[task.status] += 1
        return counts

    def history(self, user_id: str = "") -> Iterator[Stretch]:
        for key, stretches in sorted(self._history.items()):
            if user_id in ("", key[0]):
                yield from sorted(stretches.values(), key=lambda s: (s.since, s.version))

    def known_since(self) -> int:
        begun_at = min([self._begun_at, *(scheduled_at for _, scheduled_at, _, _ in self._results)])
        return max(begun_at, self._results_from)

    def rollups(self, user_id: str, monitor_id: str, step: Step, when: When = ALWAYS) -> list[Rollup]:
        def held(rows: dict[Key, Row], of_table: Step) -> list[Rollup]:
            return [rollup(row, of_table) for key, row in sorted(rows.items()) if key[:2] == (user_id, monitor_id)]

        found = held(self._hours, Step.HOUR)
        if step is Step.DAY:
            found = by_day([*held(self._days, Step.DAY), *found])
        return [each for each in found if _is_within(each.at, when)]

    def availability(self, user_id: str, monitor_id: str, begin: int, end: int, bars: int = 0) -> Availability:
        return read_availability(self, user_id, monitor_id, begin, end, bars)

    def rollups_from(self) -> int:
        return 0

    def identities(self, from_ms: int, until_ms: int, user_id: str = "") -> Iterator[Identity]:
        for key, stored in sorted(self._results.items()):
            result = stored.result
            if user_id not in ("", result.user_id):
                continue
            reaches_in = result.scheduled_at < from_ms and result.skipped_until >= max(from_ms, 1)
            if from_ms <= result.scheduled_at < until_ms or reaches_in:
                owner, scheduled_at, monitor_id, attempt = key
                yield Identity(
                    owner,
                    monitor_id,
                    scheduled_at,
                    attempt,
                    stored.deliveries,
                    result.skipped_until,
                    result.skipped_count,
                    result.manual,
                    result.status.value,
                    result.started_at,
                )

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

    def _kept(self, kind: str, key: Sequence[Any]) -> int:
        user = self.user(key[1] if key[0] in (_DAY, _LETTER, _REPLY, _AUDIT) else key[0])
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
        until = now - self._keep.hourly_rollups
        old = sorted(self._hours, key=lambda key: key[2])[:most] if self._keep.hourly_rollups else []
        hours = [self._hours.pop(key) for key in old if key[2] < until - until % DAY_MS]
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

    def _letters_within(self, which: LetterSelection, when: When) -> list[StoredLetter]:
        return [
            letter
            for letter in self._letters.values()
            if is_letter_selected(which, letter) and _is_within(letter.refused_at, when)
        ]

    def _put_entry(self, received: Received[CatalogueEntry]) -> None:
        entry, timestamp = received.value, received.timestamp
        key = (entry.user_id, entry.monitor_id)
        if isinstance(entry.value, User):
            self._users[entry.user_id] = entry.value, received.source.number
        elif isinstance(entry.value, Monitor):
            self._monitors[key] = entry.value
            self._put_stretch(entry.value)
            self._put_task(key, entry.value, received.source.number)
        elif entry.monitor_id:
            self._monitors.pop(key, None)
            self._end(key, timestamp)
        else:
            self._users.pop(entry.user_id, None)
            for other in [k for k in self._monitors.keys() | self._history.keys() if k[0] == entry.user_id]:
                self._monitors.pop(other, None)
                self._end(other, timestamp)

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

    def _tasks_within(self, user_id: str, from_ms: int, until_ms: int, now: int) -> Iterator[StoredTask]:
        for task in self._tasks.values():
            if user_id in ("", task.user_id) and from_ms <= task.due_at and (task.due_at < until_ms or not until_ms):
                yield as_of(task, now)

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


def _is_within(instant: int, when: When) -> bool:
    return when.since <= instant and (not when.until or instant < when.until)


def _key_of(result: Result) -> tuple[str, int, str, int]:
    return result.user_id, result.scheduled_at, result.monitor_id, result.attempt
