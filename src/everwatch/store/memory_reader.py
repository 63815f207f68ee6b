"""Reader of a store in memory."""

from collections import Counter
from collections.abc import Iterator, Sequence

from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import AuditEntry, Monitor, Reply, Result, State, Transition, User
from everwatch.store.audit_log import EVERY_ENTRY, AuditPlace, AuditSelection, is_entry_selected, place_of_entry
from everwatch.store.availability import Availability
from everwatch.store.bulk_statements import Row
from everwatch.store.letters import (
    EVERY_LETTER,
    LetterCount,
    LetterPlace,
    LetterSelection,
    StoredLetter,
    is_letter_selected,
    place_of_letter,
)
from everwatch.store.paging import Sort, StoredPage, is_descending, no_state_of_users, page_in_memory, place_of
from everwatch.store.partition import Partition
from everwatch.store.past_reading import read_availability
from everwatch.store.purged_users import AskedPurge, StoredPurge, key_of_purge
from everwatch.store.queries.events import ResultPlace, TransitionPlace, place_of_result, place_of_transition
from everwatch.store.queries.letters import ReplyPlace, place_of_reply
from everwatch.store.queries.matching import Facts, is_selected
from everwatch.store.queries.monitors import place_of_monitor
from everwatch.store.queries.tasks import Place as TaskPlace
from everwatch.store.queries.tasks import place_of_task
from everwatch.store.queries.users import place_of_user
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.rollups import Key, by_day, rollup
from everwatch.store.search import needles_of, user_text
from everwatch.store.selections import (
    ALWAYS,
    EVERY_RESULT,
    EVERY_TRANSITION,
    ResultSelection,
    Selection,
    TransitionSelection,
    When,
)
from everwatch.store.stored_values import (
    CatalogueCounts,
    Counts,
    FormerSpec,
    Identity,
    ListedUser,
    MonitorCount,
    StoredResult,
    StoredTask,
    Stretch,
    TaskStatus,
)
from everwatch.store.task_records import as_of


class MemoryReader:
    """Reader of a ``MemoryStore``; ``Reader`` describes the methods."""

    def __init__(self) -> None:
        self._results_from = 0
        self._offsets: dict[Partition, int] = {}
        self._begun_at = 0
        self._results: dict[tuple[str, int, str, int, str], StoredResult] = {}
        self._transitions: dict[tuple[str, str, int, State], Transition] = {}
        # by partition, offset and instant
        self._letters: dict[tuple[int, int, int], StoredLetter] = {}
        # by user, id and kind of what is answered, instant and outcome
        self._replies: dict[tuple[str, str, str, int, str], Reply] = {}
        self._audit: dict[str, AuditEntry] = {}
        # each user with the number of its partition
        self._users: dict[str, tuple[User, int]] = {}
        self._monitors: dict[tuple[str, str], Monitor] = {}
        self._former_specs: dict[tuple[str, str], dict[int, FormerSpec]] = {}
        self._tasks: dict[tuple[str, str], StoredTask] = {}
        # by user and monitor, then by version and since
        self._history: dict[tuple[str, str], dict[tuple[int, int], Stretch]] = {}
        # rows by user, monitor and begin
        self._hours: dict[Key, Row] = {}
        self._days: dict[Key, Row] = {}
        # by key: each with the record of it
        self._purges: dict[str, tuple[AskedPurge, StoredPurge]] = {}

    def offsets(self) -> dict[Partition, int]:
        return dict(self._offsets)

    def purge(self, user_id: str, command_id: str) -> StoredPurge | None:
        _, found = self._purges.get(key_of_purge(user_id, command_id), (None, None))
        return found

    def results(
        self, which: ResultSelection = EVERY_RESULT, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredResult]:
        def is_wanted(result: Result) -> bool:
            held = (result.user_id, result.monitor_id, result.status.value, result.kind, result.region)
            return all(one in ("", other) for one, other in zip(which, held, strict=True)) and _is_within(
                result.scheduled_at, when
            )

        found = [stored for stored in self._results.values() if is_wanted(stored.result)]
        question = ("results", *which, when)
        return page_in_memory(
            found,
            lambda stored: place_of_result(stored.result),
            place_of(question, after, ResultPlace),
            descending=True,
            limit=limit,
            question=question,
        )

    def transitions(
        self, which: TransitionSelection = EVERY_TRANSITION, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[Transition]:
        found = [
            one
            for one in self._transitions.values()
            if which.user_id in ("", one.user_id)
            and which.monitor_id in ("", one.monitor_id)
            and which.state in ("", one.to_state)
            and which.kind in ("", one.kind)
            and which.plan in ("", one.plan)
            and which.target in ("", one.target)
            and (one.alert or not which.alerts)
            and _is_within(one.at, when)
        ]
        question = ("transitions", *which, when)
        place = place_of(question, after, TransitionPlace)
        return page_in_memory(found, place_of_transition, place, descending=True, limit=limit, question=question)

    def dead_letters(
        self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredLetter]:
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
    ) -> StoredPage[Reply]:
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
    ) -> StoredPage[AuditEntry]:
        question = ("audit", which, when)
        found = [each for each in self._audit.values() if is_entry_selected(which, each) and _is_within(each.at, when)]
        place = place_of(question, after, AuditPlace)
        return page_in_memory(found, place_of_entry, place, descending=True, limit=limit, question=question)

    def list_monitors(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[Monitor]:
        question = ("monitors", which, sort, reverse)
        return page_in_memory(
            [monitor for monitor in self._monitors.values() if is_selected(which, self._facts(monitor))],
            lambda monitor: place_of_monitor(monitor, sort),
            place_of(question, after, tuple[str, str] if sort is Sort.ID else tuple[int, str, str]),
            descending=is_descending(sort, reverse),
            limit=limit,
            question=question,
        )

    def list_monitor_ids(self, which: Selection, after: str = "", *, limit: int = 1_000) -> StoredPage[tuple[str, str]]:
        found = self.list_monitors(which, after, limit=limit)
        page = StoredPage((monitor.user_id, monitor.monitor_id) for monitor in found)
        page.next = found.next
        return page

    def list_users(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[ListedUser]:
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

    def user(self, user_id: str) -> User | None:
        found = self._users.get(user_id)
        return None if found is None else found[0]

    def monitor_versions(self, user_id: str, monitor_ids: Sequence[str]) -> dict[str, int]:
        found = {each: self._monitors.get((user_id, each)) for each in monitor_ids}
        return {each: monitor.version for each, monitor in found.items() if monitor is not None}

    def partition_of(self, user_id: str) -> int | None:
        found = self._users.get(user_id)
        return None if found is None else found[1]

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        return self._monitors.get((user_id, monitor_id))

    def former_specs(self, user_id: str, monitor_id: str, *, limit: int = 50) -> list[FormerSpec]:
        found = self._former_specs.get((user_id, monitor_id), {})
        return [found[version] for version in sorted(found, reverse=True)[:limit]]

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
        self, user_id: str = "", status: str = "", *, when: When = ALWAYS, now: int, after: str = "", limit: int = 100
    ) -> StoredPage[StoredTask]:
        question = ("tasks", user_id, status, *when)
        found = [t for t in self._tasks_within(user_id, when, now) if status in ("", t.status)]
        place = place_of(question, after, TaskPlace)
        return page_in_memory(found, place_of_task, place, descending=False, limit=limit, question=question)

    def count_tasks(self, user_id: str = "", *, when: When = ALWAYS, now: int) -> dict[str, int]:
        counts = dict.fromkeys(map(str, TaskStatus), 0)
        for task in self._tasks_within(user_id, when, now):
            counts[task.status] += 1
        return counts

    def history(self, user_id: str = "") -> Iterator[Stretch]:
        for key, stretches in sorted(self._history.items()):
            if user_id in ("", key[0]):
                yield from sorted(stretches.values(), key=lambda s: (s.since, s.version))

    def known_since(self) -> int:
        begun_at = min([self._begun_at, *(scheduled_at for _, scheduled_at, _, _, _ in self._results)])
        return max(begun_at, self._results_from)

    def rollups(self, user_id: str, monitor_id: str, step: RollupStep, when: When = ALWAYS) -> list[Rollup]:
        def held(rows: dict[Key, Row], of_table: RollupStep) -> list[Rollup]:
            return [rollup(row, of_table) for key, row in sorted(rows.items()) if key[:2] == (user_id, monitor_id)]

        found = held(self._hours, RollupStep.HOUR)
        if step is RollupStep.DAY:
            found = by_day([*held(self._days, RollupStep.DAY), *found])
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
                owner, scheduled_at, monitor_id, attempt, region = key
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
                    region,
                )

    def close(self) -> None:
        """Nothing to release."""

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

    def _letters_within(self, which: LetterSelection, when: When) -> list[StoredLetter]:
        return [
            letter
            for letter in self._letters.values()
            if is_letter_selected(which, letter) and _is_within(letter.refused_at, when)
        ]

    def _tasks_within(self, user_id: str, when: When, now: int) -> Iterator[StoredTask]:
        for task in self._tasks.values():
            if user_id in ("", task.user_id) and _is_within(task.due_at, when):
                yield as_of(task, now)


def _is_within(instant: int, when: When) -> bool:
    return when.since <= instant and (not when.until or instant < when.until)
