"""Tests of what every store promises, asked of each of them: SQLite, PostgreSQL and the one in memory.

All in one file: the contract of one interface, method by method, asked of each store.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from support.new_databases import open_new_store

from everwatch.core.config import Settings
from everwatch.model import (
    Agenda,
    At,
    AuditEntry,
    CommandOutcome,
    Cron,
    Every,
    Maintenance,
    Misfire,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Reply,
    Result,
    Retries,
    SignalState,
    State,
    Status,
    Transition,
    User,
)
from everwatch.rules import lifecycle
from everwatch.store import (
    CatalogueEntry,
    Counts,
    Identity,
    MemoryStore,
    Partition,
    Purge,
    Reader,
    Received,
    ResultStore,
    SinkBatch,
    StoreBusy,
    StoredTask,
    TaskStatus,
    When,
    open_reader,
)
from everwatch.store.audit_log import AuditSelection
from everwatch.store.letters import LetterSelection, Redrive, StoredLetter
from everwatch.store.plan_keeping import NO_PLANS, Keep, PlanKeeping
from everwatch.store.purge_rows import AT_ONCE
from everwatch.store.purged_users import AskedPurge, PurgeOutcome, Remains, StoredPurge, key_of_purge
from everwatch.store.rollup_counts import RollupStep
from everwatch.store.selections import ResultSelection, TransitionSelection
from everwatch.store.sketch import counts_of, merged

MINUTE = 60_000
RESULTS = Partition("results", 3)
TRANSITIONS = Partition("transitions", 3)
CHANGELOG = Partition("everwatch-monitors-changelog", 3)
LETTERS = Partition("dead-letters", 3)
REPLIES = Partition("replies", 3)
AUDIT = Partition("audit", 3)


DAY = 86_400_000
KEPT_DAYS = {
    "keep_results_days": 30,
    "keep_transitions_days": 40,
    "keep_history_days": 50,
    "keep_tasks_days": 60,
    "keep_hourly_rollups_days": 10,
    "keep_daily_rollups_days": 70,
    "keep_dead_letters_days": 45,
    "keep_replies_days": 20,
    "keep_audit_days": 48,
}
KEEP = Keep.of(Settings(**KEPT_DAYS))


class Feed:
    """Feeds a store as the sink does: every call is one batch of the next offsets of one partition."""

    def __init__(self, store: ResultStore, reader: Reader) -> None:
        self.store = store
        self.reader = reader
        self.next = {RESULTS: 0, TRANSITIONS: 0, CHANGELOG: 0, LETTERS: 0, REPLIES: 0, AUDIT: 0}
        self.stored_at = 9_000

    def purges(self, *purges: AskedPurge) -> SinkBatch:
        return self._apply(REPLIES, purges=self._received(REPLIES, purges))

    def results(self, *results: Result) -> SinkBatch:
        return self._apply(RESULTS, results=self._received(RESULTS, results))

    def transitions(self, *transitions: Transition) -> SinkBatch:
        return self._apply(TRANSITIONS, transitions=self._received(TRANSITIONS, transitions))

    def letters(self, *letters: StoredLetter | Redrive) -> SinkBatch:
        return self._apply(LETTERS, letters=self._received(LETTERS, letters))

    def replies(self, *replies: Reply) -> SinkBatch:
        return self._apply(REPLIES, replies=self._received(REPLIES, replies))

    def audit(self, *entries: AuditEntry) -> SinkBatch:
        return self._apply(AUDIT, audit=self._received(AUDIT, entries))

    def put(self, *values: User | Monitor) -> SinkBatch:
        entries = [CatalogueEntry(v.user_id, v.monitor_id if isinstance(v, Monitor) else "", v) for v in values]
        return self.entries(*entries)

    def delete(self, user_id: str, monitor_id: str = "", *, at: int) -> SinkBatch:
        return self.entries(CatalogueEntry(user_id, monitor_id, None), at=at)

    def entries(self, *entries: CatalogueEntry, at: int = 1) -> SinkBatch:
        return self._apply(CHANGELOG, entries=self._received(CHANGELOG, entries, at))

    def _received(self, source: Partition, values: Any, at: int = 1) -> list[Received[Any]]:
        first = self.next[source]
        self.next[source] += len(values)
        return [Received(source, offset, at, value) for offset, value in enumerate(values, first)]

    def _apply(self, source: Partition, **records: Any) -> SinkBatch:
        batch = SinkBatch(self.stored_at, {source: self.next[source]}, **records)
        self.store.apply(batch)
        return batch

    def spans(self) -> list[tuple[int, int, int | None]]:
        return [(s.version, s.since, s.until) for s in self.reader.history()]


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    with fed(request, tmp_path, KEPT_DAYS) as made:
        yield made


@contextmanager
def fed(request: pytest.FixtureRequest, tmp_path: Path, kept_days: dict[str, Any]) -> Iterator[Feed]:
    if request.param == "memory":
        settings = Settings(**kept_days)
        memory = MemoryStore(Keep.of(settings))
        yield Feed(memory, memory)
        return
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(data_dir=tmp_path, database=url, **kept_days)
    store = open_new_store(settings)
    reader = open_reader(settings)
    yield Feed(store, reader)
    reader.close()
    store.close()


def result(scheduled_at: int = MINUTE, **fields: Any) -> Result:
    usual: dict[str, Any] = {
        "user_id": "anna",
        "monitor_id": "shop",
        "kind": "http",
        "version": 1,
        "status": Status.SUCCESS,
        "reason": "200 OK",
        "started_at": scheduled_at + 5,
        "duration_ms": 12.5,
        "timings": {"connect": 3.5},
        "executor": "e1",
        "detail": "HTTP/1.1 503\n\nöps",
    }
    return Result(scheduled_at=scheduled_at, **usual | fields)


def skipped(scheduled_at: int, until: int, count: int) -> Result:
    return result(
        scheduled_at, status=Status.SKIPPED, reason="not run", skipped_until=until, skipped_count=count, duration_ms=0.0
    )


def spec(monitor_id: str = "shop", interval_ms: int = MINUTE) -> MonitorSpec:
    return MonitorSpec(monitor_id, "http", '{"url":"https://shop"}', Every(interval_ms), Policy(misfire=Misfire.SKIP))


def monitor(since: int = 1_000, monitor_id: str = "shop", user_id: str = "anna") -> Monitor:
    return lifecycle.first_put(user_id, spec(monitor_id), Origin.SIGNUP, since, since)


def changed(monitor: Monitor, at: int) -> Monitor:
    return lifecycle.put_again(monitor, spec(monitor.monitor_id, 2 * MINUTE), Origin.SIGNUP, at)


def user(user_id: str = "anna") -> User:
    return User(user_id, "pro", {"email": "anna@example.org", "age": 30}, ("shop",), 1_000, 2_000)


def task(monitor_id: str = "coupon", at: int = 60_000, user_id: str = "anna", put_at: int = 1_000) -> Monitor:
    """A delayed task as it is first put."""
    return Monitor(
        user_id, MonitorSpec(monitor_id, "http", "{}", At(at)), Origin.COMMAND, 1, put_at, state_since=put_at
    )


def letter(offset: int = 0, refused_at: int = MINUTE, **fields: Any) -> StoredLetter:
    usual: dict[str, Any] = {
        "reason": f"there is no plan 'gold-{offset}'",
        "alike": "there is no plan '…'",
        "path": "$.plan",
        "code": "unknown_plan",
        "refused_by": "worker",
        "source_topic": "signups",
        "source_partition": 3,
        "source_offset": 2**62,
        "source_ms": 0,
        "user_id": "anna",
        "key": "anna",
        "encoding": "json",
        "value": '{"plan":"gold"}',
        "problem": "",
    }
    return StoredLetter(3, offset, refused_at, **usual | fields)


def reply(at: int = MINUTE, command_id: str = "c-1", **fields: Any) -> Reply:
    usual: dict[str, Any] = {
        "user_id": "anna",
        "monitor_id": "shop",
        "command": "pause",
        "answer": CommandOutcome.REFUSED,
        "reason": "there is no monitor 'shop'",
        "path": "$.monitor_id",
        "version": 3,
        "code": "not_found",
        "partition": 3,
        "offset": 2**62,
    }
    return Reply(command_id=command_id, at=at, **usual | fields)


def over(task: Monitor, status: Status = Status.SUCCESS, reason: str = "") -> Monitor:
    """The task after its one run."""
    at = max(task.spec.schedule.at, task.since + 1) if isinstance(task.spec.schedule, At) else 0
    run = Result(task.user_id, task.monitor_id, at, "http", task.version, status, reason, at, 1.0)
    return lifecycle.after_result(task, run)


# --- results --------------------------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_stored(feed: Feed) -> None:
    feed.results(result())
    [stored] = feed.reader.results()
    assert stored.result == result()
    assert (stored.stored_at, stored.deliveries) == (9_000, 1)


def test_a_result_delivered_by_two_records_is_held_once_as_it_came_first(feed: Feed) -> None:
    feed.results(result(executor="e1"), result(executor="e2"))
    feed.stored_at = 9_999
    feed.results(result(executor="e3"))
    [stored] = feed.reader.results()
    assert (stored.result.executor, stored.stored_at, stored.deliveries) == ("e1", 9_000, 3)


def test_the_volume_says_how_old_the_oldest_results_are(feed: Feed) -> None:
    assert feed.store.volume().oldest_results == 0
    feed.results(result(40 * DAY), result(41 * DAY))
    assert feed.store.volume()._replace(size=0) == (0, 40 * DAY)


def test_a_replayed_batch_changes_nothing(feed: Feed) -> None:
    batch = feed.results(result(1 * MINUTE), result(2 * MINUTE))
    feed.store.apply(batch)
    assert [stored.deliveries for stored in feed.reader.results()] == [1, 1]


def test_of_a_batch_that_was_partly_stored_only_the_rest_counts(feed: Feed) -> None:
    feed.results(result(1 * MINUTE))
    both = [Received(RESULTS, 0, 1, result(1 * MINUTE)), Received(RESULTS, 1, 1, result(2 * MINUTE))]
    feed.store.apply(SinkBatch(9_000, {RESULTS: 2}, both))
    assert [(s.result.scheduled_at, s.deliveries) for s in feed.reader.results()] == [(2 * MINUTE, 1), (MINUTE, 1)]


def test_the_same_offset_of_another_partition_is_another_record(feed: Feed) -> None:
    feed.results(result())
    other = Partition("results", 4)
    feed.store.apply(SinkBatch(9_000, {other: 1}, [Received(other, 0, 1, result())]))
    assert [stored.deliveries for stored in feed.reader.results()] == [2]


def test_a_run_asked_for_by_a_command_is_told_apart(feed: Feed) -> None:
    by_hand = result(manual=True)
    feed.results(by_hand)
    assert [stored.result for stored in feed.reader.results()] == [by_hand]
    assert [(i.manual, i.status, i.started_at) for i in feed.reader.identities(0, 2 * MINUTE)] == [
        (True, "success", MINUTE + 5)
    ]


def test_results_of_one_tick_from_several_regions_are_different_results(feed: Feed) -> None:
    regions = ("", "eu", "us")
    feed.results(*(result(MINUTE, region=region) for region in (*regions, "eu")))
    which = ResultSelection("anna", "shop")
    stored = feed.reader.results(which)
    assert [(each.result.region, each.deliveries) for each in stored] == [("us", 1), ("eu", 2), ("", 1)]
    [first] = page = feed.reader.results(which, limit=1)
    following = feed.reader.results(which, limit=1, after=page.next)
    assert (first.result.region, following[0].result.region) == ("us", "eu")
    [only] = feed.reader.results(ResultSelection(region="eu"))
    assert only.result.region == "eu"
    assert [each.region for each in feed.reader.identities(0, 2 * MINUTE)] == list(regions)


def test_attempts_of_one_tick_are_different_results(feed: Feed) -> None:
    feed.results(result(attempt=1), result(attempt=2))
    assert [(s.result.attempt, s.deliveries) for s in feed.reader.results()] == [(2, 1), (1, 1)]


@pytest.mark.parametrize("ran_first", [True, False])
def test_a_result_that_ran_beats_a_skipped_one_in_either_order_and_the_span_is_kept(
    feed: Feed, ran_first: bool
) -> None:
    both = [result(MINUTE), skipped(MINUTE, 3 * MINUTE, 3)]
    feed.results(*(both if ran_first else reversed(both)))
    [stored] = feed.reader.results()
    assert stored.result == result(MINUTE, skipped_until=3 * MINUTE, skipped_count=3)
    assert stored.deliveries == 2


@pytest.mark.parametrize("larger_first", [True, False])
def test_of_two_skipped_results_the_larger_span_stays(feed: Feed, larger_first: bool) -> None:
    both = [skipped(MINUTE, 5 * MINUTE, 5), skipped(MINUTE, 3 * MINUTE, 3)]
    feed.results(*(both if larger_first else reversed(both)))
    [stored] = feed.reader.results()
    assert (stored.result.skipped_until, stored.result.skipped_count) == (5 * MINUTE, 5)
    assert stored.result.status is Status.SKIPPED


def test_results_are_listed_newest_first_for_all_a_user_or_a_monitor(feed: Feed) -> None:
    feed.results(
        result(1 * MINUTE),
        result(3 * MINUTE, monitor_id="blog"),
        result(2 * MINUTE),
        result(4 * MINUTE, user_id="bert"),
    )
    reader = feed.reader

    def listed(*args: str, limit: int = 100) -> list[int]:
        return [stored.result.scheduled_at // MINUTE for stored in reader.results(ResultSelection(*args), limit=limit)]

    assert listed() == [4, 3, 2, 1]
    assert listed("anna") == [3, 2, 1]
    assert listed("anna", limit=2) == [3, 2]
    assert listed("anna", "shop") == [2, 1]
    assert listed("nobody") == []


def test_identities_of_an_interval_hold_its_results_and_what_was_skipped_into_it(feed: Feed) -> None:
    feed.results(
        result(1 * MINUTE),
        skipped(2 * MINUTE, 4 * MINUTE, 3),
        result(5 * MINUTE, user_id="bert"),
        result(5 * MINUTE),
        result(5 * MINUTE),
        result(6 * MINUTE),
    )
    assert list(feed.reader.identities(4 * MINUTE, 6 * MINUTE)) == [
        Identity("anna", "shop", 2 * MINUTE, 1, 1, 4 * MINUTE, 3, False, "skipped", 2 * MINUTE + 5),
        Identity("anna", "shop", 5 * MINUTE, 1, 2, 0, 0, False, "success", 5 * MINUTE + 5),
        Identity("bert", "shop", 5 * MINUTE, 1, 1, 0, 0, False, "success", 5 * MINUTE + 5),
    ]
    assert [i.scheduled_at // MINUTE for i in feed.reader.identities(0, 2 * MINUTE)] == [1]


def test_identities_of_one_user_are_those_of_all_that_are_the_users(feed: Feed) -> None:
    feed.results(
        skipped(2 * MINUTE, 4 * MINUTE, 3),
        *(result(at * MINUTE, user_id=user) for at in (6, 5, 3, 1) for user in ("anna", "ann", "bert")),
        result(5 * MINUTE, monitor_id="blog"),
    )
    everybody = list(feed.reader.identities(4 * MINUTE, 6 * MINUTE))
    hers = list(feed.reader.identities(4 * MINUTE, 6 * MINUTE, "anna"))
    assert hers == [identity for identity in everybody if identity.user_id == "anna"]
    assert [(i.scheduled_at // MINUTE, i.monitor_id) for i in hers] == [(2, "shop"), (5, "blog"), (5, "shop")]
    assert list(feed.reader.identities(0, 9 * MINUTE, "nobody")) == []


# --- transitions ----------------------------------------------------------------------------------------------------


def test_a_transition_delivered_twice_is_held_once_and_the_latest_comes_first(feed: Feed) -> None:
    down = Transition("anna", "shop", 2_000, State.UP, State.DOWN, "timed out", 1)
    up = Transition("anna", "shop", 3_000, State.DOWN, State.UP, "200 OK", 1)
    feed.transitions(down, up, down)
    assert feed.reader.transitions() == [up, down]
    assert feed.reader.transitions(limit=1) == [up]


def test_reminders_and_changes_that_alert_nobody_come_back_as_such(feed: Feed) -> None:
    down = Transition("anna", "shop", 2_000, State.UP, State.DOWN, "timed out", 1, alert=False)
    reminder = Transition("anna", "shop", 3_000, State.DOWN, State.DOWN, "still down", 1, reminder=True)
    feed.transitions(down, reminder)
    assert feed.reader.transitions() == [reminder, down]
    assert feed.reader.transitions(TransitionSelection(alerts=True)) == [reminder]


@pytest.mark.parametrize("outcome", [*Status, None])
def test_a_transition_of_a_monitor_that_is_over_keeps_its_outcome(feed: Feed, outcome: Status | None) -> None:
    ended = Transition("anna", "coupon", 60_000, State.NEW, State.DONE, "3 sent: all", 1, outcome=outcome)
    feed.transitions(ended)
    assert list(feed.reader.transitions()) == [ended]


def test_transitions_are_listed_for_all_a_user_or_a_monitor(feed: Feed) -> None:
    feed.transitions(
        *(
            Transition(user_id, monitor_id, at, State.NEW, State.UP, "", 1)
            for at, (user_id, monitor_id) in enumerate([("anna", "shop"), ("anna", "blog"), ("bert", "shop")])
        )
    )

    def listed(*args: str, limit: int = 100) -> list[int]:
        return [transition.at for transition in feed.reader.transitions(TransitionSelection(*args), limit=limit)]

    assert listed() == [2, 1, 0]
    assert listed("anna") == [1, 0]
    assert listed("anna", limit=1) == [1]
    assert listed("anna", "shop") == [0]
    assert listed("nobody") == []


# --- roll-ups -------------------------------------------------------------------------------------------------------

HOUR = 3_600_000


def counted(results: Iterable[Result]) -> dict[tuple[str, str, int], tuple[int, int, int, int, int]]:
    """Return what roll-ups of hours must say of the results that are stored, counted one by one."""
    hours: dict[tuple[str, str, int], list[int]] = {}
    for each in results:
        counts = hours.setdefault((each.user_id, each.monitor_id, each.scheduled_at // HOUR * HOUR), [0] * 5)
        if each.status is Status.SKIPPED:
            counts[3] += max(1, each.skipped_count)
            continue
        counts[(Status.SUCCESS, Status.FAILURE, Status.LATE).index(each.status)] += 1
        counts[3] += max(0, each.skipped_count - 1)
        if each.status is not Status.LATE:
            counts[4] += round(each.duration_ms * 1_000)
    return {key: (counts[0], counts[1], counts[2], counts[3], counts[4]) for key, counts in hours.items()}


def rolled_up(
    feed: Feed, step: RollupStep = RollupStep.HOUR
) -> dict[tuple[str, str, int], tuple[int, int, int, int, int]]:
    """Return what the roll-ups of all monitors say."""
    return {
        (each.user_id, each.monitor_id, each.at): (
            each.successes, each.failures, each.lates, each.skips, each.duration_us
        )
        for user_id in ("anna", "bert") for monitor_id in ("shop", "blog")
        for each in feed.reader.rollups(user_id, monitor_id, step)
    }  # fmt: skip


def stored_results(feed: Feed) -> list[Result]:
    return [stored.result for stored in feed.reader.results(limit=100_000)]


def rebuild(feed: Feed, from_ms: int = 0) -> int:
    """Rebuild all roll-ups, a user at a time; gives in how many steps."""
    last, steps = feed.store.rebuild_rollups(from_ms, "", 1), 1
    while last is not None:
        last, steps = feed.store.rebuild_rollups(from_ms, last, 1), steps + 1
    return steps


def test_roll_ups_count_results_by_status_and_hour(feed: Feed) -> None:
    feed.results(
        result(1 * MINUTE, duration_ms=10.0),
        result(2 * MINUTE, duration_ms=20.5, status=Status.FAILURE),
        result(3 * MINUTE, duration_ms=0.0, status=Status.LATE),
        skipped(4 * MINUTE, 6 * MINUTE, 3),
        result(HOUR, duration_ms=40.0),
        result(HOUR, duration_ms=80.0, attempt=2),
        result(5 * MINUTE, monitor_id="blog"),
    )
    feed.results(result(HOUR + MINUTE, duration_ms=60.0))
    first, second = feed.reader.rollups("anna", "shop", RollupStep.HOUR)
    assert (first.at, first.successes, first.failures, first.lates, first.skips) == (0, 1, 1, 1, 3)
    assert (second.at, second.successes, second.mean_ms) == (HOUR, 3, 60.0)
    assert second.quantiles_ms(0.0, 0.5, 1.0) == [pytest.approx(ms, rel=0.02) for ms in (40.0, 60.0, 80.0)]
    assert [each.at for each in feed.reader.rollups("anna", "shop", RollupStep.HOUR, When(1, 2 * HOUR))] == [HOUR]
    [day] = feed.reader.rollups("anna", "shop", RollupStep.DAY)
    assert (day.at, day.length_ms, day.successes, day.skips, day.mean_ms) == (0, DAY, 4, 3, 42.1)
    assert feed.reader.rollups("anna", "none", RollupStep.DAY) == []
    assert feed.reader.rollups_from() == 0


def test_what_is_delivered_again_counts_once_in_roll_ups(feed: Feed) -> None:
    batch = feed.results(result(1 * MINUTE), result(1 * MINUTE), result(2 * MINUTE, duration_ms=3.0))
    once = rolled_up(feed)
    feed.store.apply(batch)
    feed.results(result(2 * MINUTE, duration_ms=9.0, status=Status.FAILURE))
    feed.store.forget_offsets([RESULTS])
    feed.store.apply(batch)
    assert rolled_up(feed) == once == {("anna", "shop", 0): (2, 0, 0, 0, 15_500)}
    [hour] = feed.reader.rollups("anna", "shop", RollupStep.HOUR)
    assert sum(counts_of(hour.durations).values()) == 2


def test_a_run_that_comes_after_it_was_reported_as_skipped_counts_as_a_run(feed: Feed) -> None:
    feed.results(skipped(MINUTE, 3 * MINUTE, 3))
    assert rolled_up(feed) == {("anna", "shop", 0): (0, 0, 0, 3, 0)}
    feed.results(result(MINUTE))
    assert rolled_up(feed) == {("anna", "shop", 0): (1, 0, 0, 2, 12_500)}
    feed.results(skipped(MINUTE, 5 * MINUTE, 5), result(MINUTE, status=Status.FAILURE))
    assert rolled_up(feed) == {("anna", "shop", 0): (1, 0, 0, 4, 12_500)}


@pytest.mark.parametrize("seed", range(3))
def test_roll_ups_are_the_sums_of_what_is_stored_whatever_comes_again_and_in_which_order(feed: Feed, seed: int) -> None:
    chance = Random(seed)

    def some() -> Result:
        at = chance.randrange(0, 12) * 20 * MINUTE
        fields: dict[str, Any] = {
            "user_id": chance.choice(["anna", "bert"]),
            "monitor_id": chance.choice(["shop", "blog"]),
            "attempt": chance.choice([1, 1, 1, 2]),
            "status": chance.choice(list(Status)),
            "duration_ms": chance.choice([0.0, 0.4, 12.345, 3_000.0]),
        }
        if chance.random() < 0.3:
            fields |= {"skipped_until": at + MINUTE, "skipped_count": chance.randrange(0, 4)}
        return result(at, **fields)

    batches: list[SinkBatch] = []
    for _ in range(30):
        if batches and chance.random() < 0.3:
            if chance.random() < 0.5:
                feed.store.forget_offsets([RESULTS])
            for batch in batches[-chance.randrange(1, 4) :]:
                feed.store.apply(batch)
        else:
            batches.append(feed.results(*(some() for _ in range(chance.randrange(1, 12)))))
        assert rolled_up(feed) == counted(stored_results(feed))
    kept = rolled_up(feed)
    assert rebuild(feed) > 1
    assert rolled_up(feed) == kept


def test_many_durations_of_an_hour_take_little_room(feed: Feed) -> None:
    for tenth in range(10):
        feed.results(*(result(tenth * 6 * MINUTE + i, duration_ms=20.0 + i % 50) for i in range(200)))
    [hour] = feed.reader.rollups("anna", "shop", RollupStep.HOUR)
    assert hour.quantiles_ms(0.5, 0.99) == [pytest.approx(44.0, rel=0.03), pytest.approx(69.0, rel=0.03)]
    assert len(hour.durations) <= 1_000


def test_hours_become_days_when_their_time_is_over_and_late_results_join_their_day(feed: Feed) -> None:
    feed.results(*(result(at * HOUR, duration_ms=at) for at in range(50)), result(2 * HOUR, monitor_id="blog"))
    days = rolled_up(feed, RollupStep.DAY)
    durations = [merged([each.durations]) for each in feed.reader.rollups("anna", "shop", RollupStep.DAY)]
    soon = 26 * HOUR + KEEP.hourly_rollups
    assert condense(feed, soon) == 25
    assert [each.at for each in feed.reader.rollups("anna", "shop", RollupStep.HOUR)] == [
        at * HOUR for at in range(24, 50)
    ]
    assert rolled_up(feed, RollupStep.DAY) == days
    assert [merged([each.durations]) for each in feed.reader.rollups("anna", "shop", RollupStep.DAY)] == durations
    feed.results(result(3 * HOUR + 1))
    assert condense(feed, soon) == 1
    late = days | {("anna", "shop", 0): (25, 0, 0, 0, 276_000 + 12_500)}
    assert rolled_up(feed, RollupStep.DAY) == late
    rebuild(feed)
    assert len(feed.reader.rollups("anna", "shop", RollupStep.HOUR)) == 50
    assert rolled_up(feed, RollupStep.DAY) == late


def condense(feed: Feed, now: int) -> int:
    """Trim until nothing is too old; gives how much went, where nothing but hours is."""
    deleted = 0
    while some := feed.store.trim(now, 7):
        deleted += some
    return deleted


def test_days_of_roll_ups_are_kept_for_their_time(feed: Feed) -> None:
    feed.results(result(MINUTE), result(DAY + MINUTE))
    trim_all(feed, KEEP.daily_rollups + DAY)
    assert [each.at for each in feed.reader.rollups("anna", "shop", RollupStep.DAY)] == [DAY]


def test_roll_ups_outlive_results_and_what_comes_again_after_these_are_gone_does_not_count_again(feed: Feed) -> None:
    batch = feed.results(*(result(day * DAY + MINUTE) for day in range(4)))
    days = rolled_up(feed, RollupStep.DAY)
    trim_all(feed, 33 * DAY)
    assert len(stored_results(feed)) == 1
    feed.store.forget_offsets([RESULTS])
    with suppress(StoreBusy):
        # PostgreSQL: the day has to be made again, which the next try does
        feed.store.apply(batch)
    feed.store.apply(batch)
    assert rolled_up(feed, RollupStep.DAY) == days, "whether they counted before nobody can tell"
    trim_all(feed, 33 * DAY)
    rebuild(feed)
    assert rolled_up(feed, RollupStep.DAY) == days, "days without all their results stay as they are"


# --- availability ---------------------------------------------------------------------------------------------------


def test_availability_is_the_time_up_of_the_time_up_or_down_without_maintenance(feed: Feed) -> None:
    up = replace(monitor(0), state=State.UP, state_since=HOUR)
    feed.put(replace(user(), maintenance=(Maintenance(start=4 * HOUR, end=5 * HOUR),)), up)
    feed.transitions(
        Transition("anna", "shop", HOUR, State.NEW, State.UP, "", 1),
        Transition("anna", "shop", 3 * HOUR, State.UP, State.DOWN, "", 1),
        Transition("anna", "shop", 5 * HOUR, State.DOWN, State.UP, "", 1),
        Transition("anna", "blog", 2 * HOUR, State.UP, State.DOWN, "", 1),
    )
    found = feed.reader.availability("anna", "shop", 2 * HOUR, 6 * HOUR, 4)
    assert found.total.by_state == {State.UP: 2 * HOUR, State.DOWN: HOUR}
    assert found.total.availability == pytest.approx(2 / 3)
    assert [bar.state for bar in found.bars] == [State.UP, State.DOWN, None, State.UP]
    assert [bar.maintenance_ms for bar in found.bars] == [0, 0, HOUR, 0]
    feed.delete("anna", "shop", at=6 * HOUR)
    later = feed.reader.availability("anna", "shop", 5 * HOUR, 8 * HOUR, 3)
    assert [bar.state for bar in later.bars] == [State.UP, None, None], "nobody knows of a monitor that is gone"
    assert feed.reader.availability("anna", "none", 0, HOUR).total.availability is None


def test_a_monitor_without_transitions_is_in_the_state_that_it_shows(feed: Feed) -> None:
    feed.put(replace(monitor(0), state=State.UP, state_since=HOUR))
    found = feed.reader.availability("anna", "shop", 0, 4 * HOUR)
    assert (found.total.by_state, found.total.availability, found.bars) == ({State.UP: 3 * HOUR}, 1.0, [])


# --- dead letters and replies ---------------------------------------------------------------------------------------


def test_a_dead_letter_comes_back_as_it_was_stored_and_once_however_often_it_is_read(feed: Feed) -> None:
    whole = letter(cut=("key", "value"), value="größer", problem="not valid JSON")
    batch = feed.letters(whole, letter(1))
    feed.store.apply(batch)
    feed.store.forget_offsets([LETTERS])
    feed.store.apply(batch)
    assert feed.reader.dead_letters() == [letter(1), whole]
    assert feed.store.offsets()[LETTERS] == 2


def test_a_letter_says_that_it_was_redriven_also_when_all_of_it_is_read_once_more(feed: Feed) -> None:
    batch = feed.letters(letter(0), letter(1), Redrive(3, 0, 5 * MINUTE, "signups/3/9"), Redrive(3, 7, MINUTE, "x/1/2"))
    feed.letters(Redrive(3, 0, 6 * MINUTE, "signups/3/10"))
    found = [letter(1), letter(0, redriven_at=6 * MINUTE, redriven_to="signups/3/10")]
    assert feed.reader.dead_letters() == found
    feed.store.forget_offsets([LETTERS])
    feed.store.apply(batch)
    assert feed.reader.dead_letters() == found


def test_of_a_topic_that_was_made_anew_letters_and_notes_are_told_apart(feed: Feed) -> None:
    feed.letters(letter(0, MINUTE), letter(0, 2 * MINUTE), Redrive(3, 0, 3 * MINUTE, "signups/3/9"))
    assert [(each.refused_at, each.redriven_at) for each in feed.reader.dead_letters()] == [
        (2 * MINUTE, 3 * MINUTE),
        (MINUTE, 0),
    ]


def test_replies_come_back_as_they_were_stored_and_once(feed: Feed) -> None:
    answers = [
        reply(),
        reply(2 * MINUTE, answer=CommandOutcome.REPEATED),
        reply(2 * MINUTE, "", signup_id="s-1", command="signup", answer=CommandOutcome.REGISTERED, reason="", code=""),
        reply(3 * MINUTE, "", signal_id="c-1", command="signal"),
        reply(user_id="bert"),
    ]
    batch = feed.replies(*answers)
    feed.store.apply(batch)
    feed.store.forget_offsets([REPLIES])
    feed.store.apply(batch)
    assert feed.reader.replies("anna") == [answers[3], answers[2], answers[1], answers[0]]
    assert feed.reader.replies("anna", "c-1") == [answers[3], answers[1], answers[0]]
    assert feed.reader.replies("anna", "s-1") == [answers[2]]
    assert feed.reader.replies("anna", when=When(MINUTE, 2 * MINUTE)) == [answers[0]]
    assert feed.reader.replies("nobody") == []


# --- who changed what -----------------------------------------------------------------------------------------------


def change(entry_id: str = "e-1", at: int = MINUTE, **fields: Any) -> AuditEntry:
    usual: dict[str, Any] = {
        "token_id": "t-1", "token_name": "ci", "role": "operator", "address": "192.0.2.7", "forwarded_for": "",
        "route": "POST /v1/users/{user_id}/monitors/{monitor_id}/pause", "command": "pause", "user_id": "anna",
        "monitor_id": "shop", "status": 200, "outcome": "done", "command_id": "c-1", "request_id": "r-1",
    }  # fmt: skip
    return AuditEntry(entry_id=entry_id, at=at, **usual | fields)


def test_changes_come_back_as_they_were_noted_once_and_by_who_and_what(feed: Feed) -> None:
    entries = [
        change(),
        change("e-2", 2 * MINUTE, monitor_id="blog", status=404, outcome="not_found"),
        change("e-3", 3 * MINUTE, user_id="bert", token_id="t-2", token_name="größer"),
        change("e-4", 4 * MINUTE, user_id="", monitor_id="", token_id="t-2", command="create_token"),
    ]
    batch = feed.audit(*entries)
    feed.store.apply(batch)
    feed.store.forget_offsets([AUDIT])
    feed.store.apply(batch)
    assert feed.reader.audit() == entries[::-1]
    assert feed.reader.audit(AuditSelection("anna")) == [entries[1], entries[0]]
    assert feed.reader.audit(AuditSelection("anna", "shop")) == [entries[0]]
    assert feed.reader.audit(AuditSelection(token_id="t-2"), when=When(0, 4 * MINUTE)) == [entries[2]]
    first = feed.reader.audit(limit=3)
    assert [first[0], *feed.reader.audit(after=first.next)] == [entries[3], entries[0]]


# --- what is kept ---------------------------------------------------------------------------------------------------


def trim_all(feed: Feed, now: int, most: int = 2) -> int:
    """Delete all that is too old, a bite at a time; gives how many bites that took."""
    bites = 0
    while deleted := feed.store.trim(now, most):
        assert deleted <= most * len(KEEP)
        bites += 1
    return bites


def test_results_are_kept_for_their_time_and_what_was_skipped_into_it_stays(feed: Feed) -> None:
    feed.stored_at = 100 * DAY
    feed.results(*(result(day * DAY + MINUTE) for day in range(20)), skipped(3 * DAY, 25 * DAY, 9))
    feed.results(*(result(day * DAY + MINUTE) for day in range(20, 30)))
    assert feed.reader.known_since() == MINUTE
    trim_all(feed, 30 * DAY)
    assert len(feed.reader.results()) == 31
    assert trim_all(feed, 50 * DAY) >= 10
    stored = sorted(each.result.scheduled_at for each in feed.reader.results())
    assert stored == [3 * DAY, *(day * DAY + MINUTE for day in range(20, 30))]
    assert feed.reader.known_since() == 20 * DAY
    assert trim_all(feed, 50 * DAY) == 0
    assert trim_all(feed, 100 * DAY) > 0
    assert feed.reader.results() == []
    # what comes late goes with the next look
    feed.results(result(MINUTE))
    assert trim_all(feed, 100 * DAY) == 1
    assert feed.reader.results() == []


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def thinning(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    """A store that keeps changes and failures only of what is older than two days."""
    with fed(request, tmp_path, {"keep_every_result_days": 2}) as made:
        yield made


def thin(feed: Feed, now: int) -> int:
    bites = 0
    while feed.store.trim(now, 2):
        bites += 1
    return bites


def kept(feed: Feed, monitor_id: str, user_id: str = "anna") -> list[tuple[int, int]]:
    """The days and hours of a monitor's results, the earliest first."""
    found = sorted(stored.result.scheduled_at for stored in feed.reader.results(ResultSelection(user_id, monitor_id)))
    return [(at // DAY, at % DAY // HOUR) for at in found]


def test_of_older_results_changes_and_failures_are_kept_and_the_first_and_last_of_a_day(thinning: Feed) -> None:
    feed, first = thinning, 100
    feed.stored_at = first * DAY
    failed = {(first, 5), (first, 6), (first + 1, 0)}
    hours = [(day, hour) for day in range(first, first + 5) for hour in range(24)]
    for monitor_id, user_id in (("shop", "anna"), ("blog", "anna"), ("shop", "bert")):
        feed.results(
            *(
                result(
                    day * DAY + hour * HOUR,
                    monitor_id=monitor_id,
                    user_id=user_id,
                    status=Status.FAILURE if monitor_id == "shop" and (day, hour) in failed else Status.SUCCESS,
                )
                for day, hour in hours
            )
        )
    feed.results(skipped(first * DAY + 9 * HOUR + 1, first * DAY + 9 * HOUR + 2, 2))
    counts = rolled_up(feed)
    now = (first + 4) * DAY + HOUR
    assert thin(feed, now) >= 1
    young = [(day, hour) for day, hour in hours if day >= first + 2]
    of_first = [(first, hour) for hour in (0, 5, 6, 7, 9, 10, 23)]
    of_second = [(first + 1, hour) for hour in (0, 1, 23)]
    assert kept(feed, "shop") == kept(feed, "shop", "bert")[:4] + of_first[4:] + of_second + young
    assert kept(feed, "shop", "bert") == [(first, h) for h in (0, 5, 6, 7, 23)] + of_second + young
    assert kept(feed, "blog") == [(day, hour) for day in (first, first + 1) for hour in (0, 23)] + young
    assert rolled_up(feed) == counts, "roll-ups count everything"
    assert feed.reader.known_since() == (first + 2) * DAY, "an audit knows nothing for certain of before"
    assert thin(feed, now) == 0
    feed.results(result(first * DAY + 3 * HOUR))
    assert kept(feed, "shop")[1] == (first, 3)
    assert rolled_up(feed) == counts, "whether it counted before nobody can tell"


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def by_plan(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    """A store of users with plans that keep for another time than others."""
    with fed(
        request, tmp_path, {"keep_results_days": 10, "keep_transitions_days": 10, "keep_every_result_days": 5}
    ) as made:
        yield made


OF_PLANS = PlanKeeping.of(
    {
        "pro": {"results": 20, "every_result": 0, "transitions": 20},
        "team": {"results": 40, "every_result": 0, "transitions": 0},
        "free": {"results": 3, "transitions": 4},
        "thin": {"every_result": 2},
    }
)
WITH_PLANS = {"anna": "pro", "bert": "default", "cleo": "team", "emma": "free", "fritz": "thin"}


def left_of_first_day(feed: Feed, first: int, day: int, plans: PlanKeeping) -> tuple[dict[str, int], str]:
    """Return how many results of the first day, and whose transitions, are there so many days later."""
    now = (first + day) * DAY + HOUR
    while feed.store.trim(now, 3, plans):
        pass
    found = {
        user_id: len([at for at in kept(feed, "shop", user_id) if at[0] == first]) for user_id in (*WITH_PLANS, "dora")
    }
    return found, "".join(sorted(each.user_id[0] for each in feed.reader.transitions()))


def fill_with_plans(feed: Feed, first: int) -> None:
    feed.put(*(replace(user(user_id), plan=plan) for user_id, plan in WITH_PLANS.items()))
    feed.stored_at = first * DAY
    # dora is in no catalogue any more
    for user_id in (*WITH_PLANS, "dora"):
        feed.results(
            *(result(first * DAY + hour * HOUR, user_id=user_id) for hour in range(4)), result(1, user_id=user_id)
        )
        feed.transitions(Transition(user_id, "shop", first * DAY, State.UP, State.DOWN, "", 1))


def test_what_belongs_to_users_of_a_plan_is_kept_for_its_time(by_plan: Feed) -> None:
    feed, first = by_plan, 100
    fill_with_plans(feed, first)

    def on(day: int) -> tuple[list[int], str]:
        found, transitions = left_of_first_day(feed, first, day, OF_PLANS)
        return list(found.values()), transitions

    # anna pro, bert, cleo team, emma free, fritz thin, dora
    assert on(1) == ([4, 4, 4, 4, 4, 4], "abcdef")
    # PostgreSQL keeps the rest of a day
    found, transitions = on(3)
    assert found in ([4, 4, 4, 4, 2, 4], [4, 4, 4, 3, 2, 4])
    assert transitions == "abcdef"
    assert on(4) == ([4, 4, 4, 0, 2, 4], "abcdf")
    assert on(6) == ([4, 2, 4, 0, 2, 2], "abcdf")
    assert on(11) == ([4, 0, 4, 0, 0, 0], "ac")
    assert on(21) == ([0, 0, 4, 0, 0, 0], "c")
    assert on(41) == ([0, 0, 0, 0, 0, 0], "c")
    assert feed.reader.results() == []
    assert on(5_000) == ([0, 0, 0, 0, 0, 0], "c")


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def rolled_up_by_plan(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    """A store of users whose plans keep roll-ups for another time than others."""
    with fed(request, tmp_path, {"keep_hourly_rollups_days": 10, "keep_daily_rollups_days": 20}) as made:
        yield made


ROLL_UPS_OF_PLANS = PlanKeeping.of(
    {
        "pro": {"hourly_rollups": 30, "daily_rollups": 0},
        "free": {"hourly_rollups": 3, "daily_rollups": 5},
        "team": {"daily_rollups": 40},
    }
)


def test_roll_ups_of_users_of_a_plan_are_kept_for_its_time_some_monitors_of_an_instant_at_a_time(
    rolled_up_by_plan: Feed,
) -> None:
    feed, first = rolled_up_by_plan, 100
    feed.put(*(replace(user(user_id), plan=plan) for user_id, plan in WITH_PLANS.items()))
    feed.stored_at = first * DAY
    for user_id in (*WITH_PLANS, "dora"):
        feed.results(*(result(first * DAY + hour * HOUR, user_id=user_id) for hour in (0, 0, 5)))

    def on(day: int) -> tuple[str, str]:
        """Return whose hours, and whose days, are there so many days later."""
        while looked_at := feed.store.trim((first + day) * DAY + HOUR, 2, ROLL_UPS_OF_PLANS):
            # two of each time that hours and days are kept for
            assert looked_at <= 12
        found = {
            step: "".join(
                sorted(user_id[0] for user_id in (*WITH_PLANS, "dora") if feed.reader.rollups(user_id, "shop", step))
            )
            for step in RollupStep
        }
        return found[RollupStep.HOUR], found[RollupStep.DAY]

    # anna pro, bert, cleo team, emma free, fritz, dora
    assert on(3) == ("abcdef", "abcdef")
    assert on(4) == ("abcdf", "abcdef")
    assert [each.successes for each in feed.reader.rollups("emma", "shop", RollupStep.DAY)] == [2]
    assert on(6) == ("abcdf", "abcdf")
    assert on(12) == ("a", "abcdf")
    assert on(21) == ("a", "ac")
    assert on(32) == ("", "ac")
    assert on(5_000) == ("", "a")
    assert [each.successes for each in feed.reader.rollups("anna", "shop", RollupStep.DAY)] == [2]


def test_days_that_are_made_when_the_look_of_a_plan_has_passed_them_go_too(rolled_up_by_plan: Feed) -> None:
    feed, first = rolled_up_by_plan, 100
    plans = PlanKeeping.of({"pro": {"hourly_rollups": 10, "daily_rollups": 3}})
    feed.put(replace(user("anna"), plan="pro"))
    feed.stored_at = first * DAY
    feed.results(result(first * DAY, user_id="anna"))
    left = []
    for day in (*range(1, 14), 5_000):
        while feed.store.trim((first + day) * DAY + HOUR, 50, plans):
            pass
        left.append([len(feed.reader.rollups("anna", "shop", step)) for step in RollupStep])
    assert left[5] == [1, 1], "hours are kept for ten days"
    assert left[-2] == [0, 0], "and their day is older than three when it is made of them"


def test_plans_that_change_apply_to_what_is_stored_already(by_plan: Feed) -> None:
    feed, first = by_plan, 100
    fill_with_plans(feed, first)
    assert list(left_of_first_day(feed, first, 4, OF_PLANS)[0].values()) == [4, 4, 4, 0, 2, 4]
    others = PlanKeeping.of({"pro": {"results": 3}, "free": {"results": 3}})
    assert list(left_of_first_day(feed, first, 4, others)[0].values()) == [0, 4, 4, 0, 2, 4]
    assert list(left_of_first_day(feed, first, 6, NO_PLANS)[0].values()) == [0, 2, 2, 0, 2, 2]


def test_transitions_ended_stretches_and_tasks_that_are_over_are_kept_for_their_times(feed: Feed) -> None:
    feed.transitions(*(Transition("anna", "shop", day * DAY, State.UP, State.DOWN, "", 1) for day in range(10)))
    first = monitor(1_000)
    feed.put(user(), first, changed(first, 5 * DAY), monitor(1_000, "blog"), over(task("coupon")), task("later"))
    feed.delete("anna", "blog", at=2 * DAY)
    now = 100 * DAY
    assert trim_all(feed, 60_000 + 60 * DAY) > 0
    assert [task.monitor_id for task in feed.reader.tasks(now=0)] == ["coupon", "later"]
    assert [stretch.until for stretch in feed.reader.history() if stretch.monitor_id in ("blog", "shop")] == [None]
    assert feed.reader.transitions() == []
    assert trim_all(feed, now) > 0
    # what lasts has no age
    assert [task.monitor_id for task in feed.reader.tasks(now=0)] == ["later"]
    assert [(s.monitor_id, s.version) for s in feed.reader.history() if s.monitor_id == "shop"] == [("shop", 2)]
    assert len(feed.reader.monitors("anna")) == 3


def test_dead_letters_and_replies_are_kept_for_their_times(feed: Feed) -> None:
    feed.letters(*(letter(day, day * DAY) for day in range(10)))
    feed.replies(*(reply(day * DAY, f"c-{day}") for day in range(10)))
    feed.audit(*(change(f"e-{day}", day * DAY) for day in range(10)))
    assert trim_all(feed, 26 * DAY) > 0
    assert [each.at // DAY for each in feed.reader.replies("anna")] == [9, 8, 7, 6]
    assert len(feed.reader.dead_letters()) == 10
    assert trim_all(feed, 50 * DAY) > 0
    assert feed.reader.replies("anna") == []
    assert [each.offset for each in feed.reader.dead_letters()] == [9, 8, 7, 6, 5]
    assert [each.at // DAY for each in feed.reader.audit()] == [9, 8, 7, 6, 5, 4, 3, 2]
    assert trim_all(feed, 50 * DAY) == 0


def test_earlier_specs_of_a_monitor_are_kept_for_their_time_and_go_with_it(feed: Feed) -> None:
    first = monitor(1_000)
    second = changed(first, 2 * DAY)
    third = lifecycle.put_again(second, spec("shop", 3 * MINUTE), Origin.COMMAND, 9 * DAY)
    put = feed.put(user(), first, monitor(1_000, "blog"))
    feed.put(replace(first, state=State.UP), second, changed(monitor(1_000, "blog"), 2 * DAY))
    feed.store.apply(put)
    feed.put(replace(second, state=State.UP), third)

    def kept(monitor_id: str = "shop") -> list[tuple[int, MonitorSpec]]:
        return [(each.version, each.spec) for each in feed.reader.former_specs("anna", monitor_id)]

    assert kept() == [(2, second.spec), (1, first.spec)]
    assert kept("none") == []
    assert [each.version for each in feed.reader.former_specs("anna", "shop", limit=1)] == [2]
    assert [version for version, _ in kept("blog")] == [1]
    feed.delete("anna", "blog", at=10 * DAY)
    assert kept("blog") == []
    assert trim_all(feed, 1_000 * DAY) > 0
    assert kept() == []


# --- offsets --------------------------------------------------------------------------------------------------------


def test_offsets_stand_where_the_last_batch_ended_and_never_go_back(feed: Feed) -> None:
    assert feed.store.offsets() == {}
    first = feed.results(result(1 * MINUTE))
    feed.results(result(2 * MINUTE))
    feed.put(user())
    feed.store.apply(first)
    assert feed.store.offsets() == {RESULTS: 2, CHANGELOG: 1}


def test_a_forgotten_partition_is_read_again_and_the_others_stay(feed: Feed) -> None:
    batch = feed.results(result())
    feed.put(user())
    feed.store.forget_offsets([RESULTS])
    assert feed.store.offsets() == {CHANGELOG: 1}
    feed.store.apply(batch)
    assert [stored.deliveries for stored in feed.reader.results()] == [2]
    assert feed.store.offsets() == {RESULTS: 1, CHANGELOG: 1}


# --- the catalogue --------------------------------------------------------------------------------------------------


def test_monitors_come_back_as_they_were_last_put(feed: Feed) -> None:
    blog, shop = monitor(monitor_id="blog"), monitor(monitor_id="shop")
    down = replace(shop, state=State.DOWN, state_since=5_000, reason="timed out", last_signal=7, streak=2, judged_at=8)
    feed.put(user(), shop, blog, down)
    assert feed.reader.monitors("anna") == [blog, down]
    assert feed.reader.monitors("bert") == []
    feed.results(result())
    assert feed.reader.counts() == Counts(1, 2, {State.NEW: 1, State.DOWN: 1}, 1)
    assert feed.reader.count_users() == 1


def test_every_field_of_a_monitor_is_kept(feed: Feed) -> None:
    spec = MonitorSpec(
        "report",
        "http",
        "{}",
        Cron("0 9 * * 1-5", "Europe/Berlin", 600_000),
        Policy(retries=Retries(3), remind_every_ms=7, maintenance=(Maintenance(start=1, end=2),)),
        payload='{"customer":17}',
        start_at=1_000,
        end_at=9_000,
        max_runs=5,
    )
    agenda = Agenda(runs=2, ends_at=8_000, retry_at=7, retry_of=6, retry_attempt=2, remind_at=5, resume_at=4)
    heard = SignalState(4, 5, -9, 2.5, 0.1, 6, True)
    put = Monitor("anna", spec, Origin.COMMAND, 3, 500, State.DOWN, 600, "timed out", 1, 2, 3, agenda, heard)
    feed.put(user(), put)
    assert feed.reader.monitor("anna", "report") == put
    assert feed.reader.monitor_versions("anna", ["report", "none"]) == {"report": 3}
    assert feed.reader.monitor_versions("bob", ["report"]) == feed.reader.monitor_versions("anna", []) == {}
    assert feed.reader.monitor("anna", "shop") is None
    [stretch] = feed.reader.history()
    assert (stretch.start_at, stretch.end_at, stretch.max_runs) == (1_000, 9_000, 5)
    assert (stretch.runs, stretch.ends_at) == (2, 8_000)


def test_a_user_comes_back_as_it_was_last_put_and_with_its_partition(feed: Feed) -> None:
    away = replace(user(), maintenance=(Maintenance(cron="0 2 * * 6", timezone="Europe/Berlin", duration_ms=MINUTE),))
    feed.put(user(), away)
    assert feed.reader.user("anna") == away
    assert feed.reader.partition_of("anna") == CHANGELOG.number
    feed.delete("anna", at=3_000)
    assert feed.reader.user("anna") is None
    assert feed.reader.partition_of("anna") is None


def test_the_catalogue_gives_every_user_with_the_monitors_in_the_order_of_their_names(feed: Feed) -> None:
    shop, mill, hers = monitor(), monitor(monitor_id="mill"), monitor(user_id="bea")
    feed.put(user("zoe"), hers, shop, user("anna"), mill, user("bea"), monitor(user_id="nobody"))
    assert list(feed.reader.catalogue()) == [(user("anna"), [mill, shop]), (user("bea"), [hers]), (user("zoe"), [])]
    assert list(feed.reader.catalogue("bea")) == [(user("bea"), [hers])]
    assert list(feed.reader.catalogue("nobody")) == []


def test_a_replayed_changelog_does_not_bring_back_what_was_deleted(feed: Feed) -> None:
    put = feed.put(monitor())
    feed.delete("anna", "shop", at=3_000)
    feed.store.apply(put)
    assert feed.reader.monitors("anna") == []
    assert feed.spans() == [(1, 1_000, 3_000)]


def test_a_deregistered_user_is_gone_but_history_and_results_stay(feed: Feed) -> None:
    feed.put(user(), user("bert"), monitor(), monitor(monitor_id="blog"), monitor(user_id="bert"))
    feed.results(result())
    feed.delete("anna", "blog", at=3_000)
    feed.delete("anna", at=4_000)
    assert feed.reader.counts() == Counts(1, 1, {State.NEW: 1}, 1)
    assert [(s.user_id, s.monitor_id, s.until) for s in feed.reader.history()] == [
        ("anna", "blog", 3_000),
        ("anna", "shop", 4_000),
        ("bert", "shop", None),
    ]


def test_a_user_who_comes_back_within_a_batch_is_there(feed: Feed) -> None:
    feed.entries(
        CatalogueEntry("anna", "", user()),
        CatalogueEntry("anna", "shop", monitor(1_000)),
        CatalogueEntry("anna", "", None),
        CatalogueEntry("anna", "", user()),
        CatalogueEntry("anna", "shop", monitor(5_000)),
        CatalogueEntry("anna", "blog", monitor(5_000, "blog")),
        at=4_000,
    )
    assert feed.reader.counts() == Counts(1, 2, {State.NEW: 2}, 0)
    assert [(s.monitor_id, s.since, s.until) for s in feed.reader.history()] == [
        ("blog", 5_000, None),
        ("shop", 1_000, 4_000),
        ("shop", 5_000, None),
    ]


# --- history --------------------------------------------------------------------------------------------------------


def test_a_stretch_tells_the_spec_it_was_active_under(feed: Feed) -> None:
    first = monitor(1_000)
    feed.put(first, changed(first, 2_000))
    one, two = feed.reader.history()
    assert (one.kind, one.schedule, one.policy) == ("http", Every(MINUTE), Policy(misfire=Misfire.SKIP))
    assert two.schedule == Every(2 * MINUTE)


STORY = {
    "put": [(1, 1_000, None)],
    "up": [(1, 1_000, None)],
    "pause": [(1, 1_000, 3_000)],
    "resume": [(1, 1_000, 3_000), (1, 4_000, None)],
    "change": [(1, 1_000, 3_000), (1, 4_000, 5_000), (2, 5_000, None)],
    "delete": [(1, 1_000, 3_000), (1, 4_000, 5_000), (2, 5_000, 6_000)],
}


def told() -> dict[str, CatalogueEntry]:
    put = monitor(1_000)
    up = replace(put, state=State.UP, state_since=2_000)
    pause = lifecycle.pause(up, 3_000)
    resume = lifecycle.resume(pause, 4_000)
    steps = {"put": put, "up": up, "pause": pause, "resume": resume, "change": changed(resume, 5_000), "delete": None}
    return {name: CatalogueEntry("anna", "shop", value) for name, value in steps.items()}


def test_history_follows_a_monitor_from_put_to_delete(feed: Feed) -> None:
    for name, entry in told().items():
        feed.entries(entry, at=6_000)
        assert feed.spans() == STORY[name], name


def test_history_is_the_same_when_all_of_it_comes_in_one_batch(feed: Feed) -> None:
    feed.entries(*told().values(), at=6_000)
    assert feed.spans() == STORY["delete"]


def test_history_is_the_same_when_the_changelog_is_read_once_more_from_its_beginning(feed: Feed) -> None:
    batch = feed.entries(*list(told().values())[:-1])
    feed.store.forget_offsets([CHANGELOG])
    feed.store.apply(batch)
    assert feed.spans() == STORY["change"]


def test_a_pause_tells_the_whole_stretch_when_compaction_left_nothing_else(feed: Feed) -> None:
    feed.put(lifecycle.pause(monitor(1_000), 3_000))
    assert feed.spans() == [(1, 1_000, 3_000)]


def test_a_change_and_a_pause_of_which_compaction_left_the_pause_end_the_older_stretch_at_the_change(
    feed: Feed,
) -> None:
    feed.put(monitor(1_000))
    feed.put(lifecycle.pause(changed(monitor(1_000), 2_000), 3_000))
    assert feed.spans() == [(1, 1_000, 2_000), (2, 2_000, 3_000)]


def test_a_monitor_changed_while_paused_was_not_active_under_the_new_spec(feed: Feed) -> None:
    feed.put(monitor(1_000))
    feed.put(changed(lifecycle.pause(monitor(1_000), 3_000), 4_000))
    assert feed.spans() == [(1, 1_000, 3_000)]


def active(feed: Feed) -> list[tuple[int, int, int | None]]:
    """The stretches in which anything can have been due."""
    return [span for span in feed.spans() if span[2] is None or span[2] > span[1]]


def bounded(**bounds: int) -> MonitorSpec:
    return replace(spec(), **bounds)


def test_a_monitor_paused_before_it_begins_was_not_active_until_it_is_resumed(feed: Feed) -> None:
    put = lifecycle.first_put("anna", bounded(start_at=10_001), Origin.COMMAND, 1_000, 1_000)
    paused = lifecycle.pause(put, 3_000)
    feed.put(put)
    feed.put(paused)
    assert active(feed) == []
    feed.put(lifecycle.resume(paused, 20_000))
    assert active(feed) == [(1, 20_000, None)]


def test_a_monitor_resumed_after_its_end_was_not_active_during_the_pause(feed: Feed) -> None:
    put = lifecycle.first_put("anna", bounded(end_at=5 * MINUTE), Origin.COMMAND, 1_000, 1_000)
    paused = lifecycle.pause(put, 3_000)
    resumed = lifecycle.resume(paused, 6 * MINUTE)
    assert resumed.state is State.DONE
    for step in (put, paused, resumed):
        feed.put(step)
    assert active(feed) == [(1, 1_000, 3_000)]


def test_a_monitor_whose_beginning_is_brought_forward_is_active_once(feed: Feed) -> None:
    put = lifecycle.first_put("anna", bounded(start_at=10_001), Origin.COMMAND, 1_000, 1_000)
    feed.put(put)
    feed.put(lifecycle.put_again(put, spec(), Origin.COMMAND, 3_000))
    assert active(feed) == [(2, 3_000, None)]


def test_a_monitor_changed_in_the_millisecond_it_was_put_has_one_lasting_stretch(feed: Feed) -> None:
    feed.put(monitor(1_000))
    feed.put(changed(monitor(1_000), 1_000))
    assert feed.spans() == [(1, 1_000, 1_000), (2, 1_000, None)]


def test_a_monitor_put_again_after_it_was_deleted_begins_a_new_stretch(feed: Feed) -> None:
    feed.put(monitor(1_000))
    feed.delete("anna", "shop", at=3_000)
    feed.put(monitor(4_000))
    assert feed.spans() == [(1, 1_000, 3_000), (1, 4_000, None)]


def test_monitors_of_one_name_of_two_users_have_their_own_history(feed: Feed) -> None:
    feed.put(monitor(1_000, user_id="anna"), monitor(1_000, user_id="bert"))
    feed.put(lifecycle.pause(monitor(1_000, user_id="bert"), 2_000))
    assert [(s.user_id, s.until) for s in feed.reader.history()] == [("anna", None), ("bert", 2_000)]


def test_the_history_of_one_user_is_told_alone(feed: Feed) -> None:
    feed.put(monitor(user_id="anna"), monitor(user_id="bert"), monitor(user_id="carl"))
    assert [stretch.user_id for stretch in feed.reader.history("bert")] == ["bert"]


# --- delayed tasks --------------------------------------------------------------------------------------------------


def test_a_task_is_pending_then_running_then_done(feed: Feed) -> None:
    feed.put(task(at=60_000))
    pending = StoredTask(
        user_id="anna",
        monitor_id="coupon",
        kind="http",
        due_at=60_000,
        status=TaskStatus.PENDING,
        paused=False,
        reason="",
        created_at=1_000,
        ended_at=0,
        attempt=0,
        version=1,
        partition=CHANGELOG.number,
    )
    assert feed.reader.task("anna", "coupon", 59_999) == pending
    assert feed.reader.task("anna", "coupon", 60_000) == replace(pending, status=TaskStatus.RUNNING)
    feed.put(over(task(at=60_000), reason="200 OK"))
    assert feed.reader.task("anna", "coupon", 70_000) == replace(
        pending, status=TaskStatus.DONE, reason="200 OK", ended_at=60_000, outcome=Status.SUCCESS
    )
    assert feed.reader.task("anna", "nothing", 70_000) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.FAILURE, "timed out: after 3 s"),
        (Status.FAILURE, ""),
        (Status.LATE, "no heartbeat"),
        (Status.SKIPPED, "not run"),
    ],
)
def test_a_task_whose_run_was_no_success_has_failed_and_says_why(feed: Feed, status: Status, reason: str) -> None:
    feed.put(task(), over(task(), status, reason))
    failed = feed.reader.task("anna", "coupon", 0)
    assert failed is not None
    assert (failed.status, failed.outcome, failed.reason) == (TaskStatus.FAILED, status, reason)
    assert failed.ended_at == 60_000
    monitor = feed.reader.monitor("anna", "coupon")
    assert monitor is not None
    assert (monitor.outcome, monitor.reason) == (status, reason)


@pytest.mark.parametrize("reason", ["skipped: nothing to send today", "failure: of others", "3 sent: all", "late"])
def test_a_task_that_succeeded_is_done_whatever_it_says(feed: Feed, reason: str) -> None:
    feed.put(task(), over(task(), Status.SUCCESS, reason))
    done = feed.reader.task("anna", "coupon", 0)
    assert done is not None
    assert (done.status, done.outcome, done.reason) == (TaskStatus.DONE, Status.SUCCESS, reason)
    assert done.ended_at == 60_000


def test_a_task_put_too_late_is_due_right_away(feed: Feed) -> None:
    feed.put(task(at=500, put_at=1_000))
    assert [found.due_at for found in feed.reader.tasks(now=0)] == [1_001]


def test_a_paused_task_does_not_run_when_it_is_due(feed: Feed) -> None:
    feed.put(task(), lifecycle.pause(task(), 2_000))
    paused = feed.reader.task("anna", "coupon", 70_000)
    assert paused is not None
    assert (paused.status, paused.paused, paused.created_at) == (TaskStatus.PENDING, True, 1_000)
    assert feed.reader.count_tasks(now=70_000)["running"] == 0
    assert feed.reader.tasks(status="running", now=70_000) == []
    assert feed.reader.tasks(status="pending", now=70_000) == [paused]


def test_a_task_that_waits_for_its_retry_is_running_and_names_the_attempt(feed: Feed) -> None:
    feed.put(replace(task(), agenda=Agenda(retry_at=65_000, retry_of=60_000, retry_attempt=2)))
    assert [(t.status, t.attempt) for t in feed.reader.tasks(now=61_000)] == [(TaskStatus.RUNNING, 2)]


def test_a_task_taken_away_before_its_run_is_cancelled_and_stays_known(feed: Feed) -> None:
    feed.put(user(), task("coupon"), task("greeting"))
    feed.delete("anna", "coupon", at=3_000)
    cancelled = feed.reader.task("anna", "coupon", 70_000)
    assert cancelled is not None
    assert (cancelled.status, cancelled.ended_at, cancelled.created_at) == (TaskStatus.CANCELLED, 3_000, 1_000)
    assert feed.reader.monitor("anna", "coupon") is None


def test_a_task_that_is_over_stays_so_when_the_worker_forgets_it(feed: Feed) -> None:
    feed.put(over(task("coupon")), over(task("greeting"), Status.FAILURE, "timed out"))
    before = feed.reader.tasks(now=0)
    feed.delete("anna", "coupon", at=90_000)
    feed.delete("anna", "greeting", at=90_000)
    assert feed.reader.tasks(now=0) == before
    assert [found.status for found in before] == [TaskStatus.DONE, TaskStatus.FAILED]


def test_a_user_who_leaves_cancels_what_was_pending_of_hers_and_nothing_else(feed: Feed) -> None:
    feed.put(user(), user("bert"), task("a"), over(task("b")), lifecycle.pause(task("c"), 2_000), task("d", 1, "bert"))
    feed.delete("anna", at=4_000)
    assert {t.monitor_id: (t.status.value, t.ended_at) for t in feed.reader.tasks(now=0)} == {
        "a": ("cancelled", 4_000),
        "b": ("done", 60_000),
        "c": ("cancelled", 4_000),
        "d": ("pending", 0),
    }


def test_a_task_changed_in_time_keeps_when_it_was_created(feed: Feed) -> None:
    later = lifecycle.put_again(task(), replace(task().spec, schedule=At(90_000)), Origin.COMMAND, 5_000)
    feed.put(task())
    feed.put(later)
    [found] = feed.reader.tasks(now=0)
    assert (found.due_at, found.version, found.created_at) == (90_000, 2, 1_000)


def test_a_task_begun_anew_after_its_run_is_pending_again(feed: Feed) -> None:
    again = lifecycle.put_again(over(task()), replace(task().spec, schedule=At(200_000)), Origin.COMMAND, 100_000)
    feed.put(task(), over(task()), again)
    [found] = feed.reader.tasks(now=0)
    assert (found.status, found.due_at, found.created_at, found.ended_at) == (TaskStatus.PENDING, 200_000, 1_000, 0)


@pytest.mark.parametrize("seen", [True, False], ids=["told from its beginning", "compacted"])
def test_another_task_of_the_same_name_takes_the_place_of_the_one_before(feed: Feed, seen: bool) -> None:
    feed.put(over(task()))
    feed.delete("anna", "coupon", at=70_000)
    second = task(at=300_000, put_at=200_000)
    feed.put(*([second] if seen else []), lifecycle.pause(second, 210_000))
    [found] = feed.reader.tasks(now=0)
    assert (found.status, found.created_at) == (TaskStatus.PENDING, 200_000 if seen else 210_000)


def test_a_task_that_was_cancelled_and_put_again_is_pending_as_of_then(feed: Feed) -> None:
    feed.put(task())
    feed.delete("anna", "coupon", at=3_000)
    feed.put(task(put_at=5_000))
    [found] = feed.reader.tasks(now=0)
    assert (found.status, found.created_at, found.ended_at) == (TaskStatus.PENDING, 5_000, 0)


def test_a_task_cancelled_and_put_again_in_one_go_was_created_then(feed: Feed) -> None:
    feed.put(task())
    feed.put(task(put_at=5_000))
    assert [found.created_at for found in feed.reader.tasks(now=0)] == [5_000]


def test_a_task_made_recurring_is_a_task_no_more(feed: Feed) -> None:
    feed.put(task("coupon"), task("greeting"))
    feed.put(lifecycle.put_again(task(), replace(task().spec, schedule=Every(MINUTE)), Origin.COMMAND, 5_000))
    assert [found.monitor_id for found in feed.reader.tasks(now=0)] == ["greeting"]


def test_monitors_that_recur_are_no_tasks(feed: Feed) -> None:
    feed.put(monitor())
    assert feed.reader.tasks(now=0) == []


def test_a_task_is_the_same_when_the_changelog_is_read_once_more_from_its_beginning(feed: Feed) -> None:
    batch = feed.put(task(), lifecycle.pause(task(), 2_000), lifecycle.resume(lifecycle.pause(task(), 2_000), 3_000))
    before = feed.reader.tasks(now=0)
    feed.store.forget_offsets([CHANGELOG])
    feed.store.apply(batch)
    assert feed.reader.tasks(now=0) == before
    assert before[0].created_at == 1_000


@pytest.fixture
def crowd(feed: Feed) -> Feed:
    """Tasks of two users in every state, as of 100,000."""
    feed.put(
        *(task("later", 300_000, name) for name in ("bert", "anna")),
        task("soon", 200_000),
        task("running", 100_000),
        over(task("done", 40_000)),
        over(task("failed", 50_000), Status.FAILURE, "timed out"),
        task("cancelled", 100_000, "bert"),
    )
    feed.delete("bert", "cancelled", at=30_000)
    return feed


def test_tasks_are_listed_as_they_come_due(crowd: Feed) -> None:
    def listed(*args: Any, **more: Any) -> list[str]:
        found = crowd.reader.tasks(*args, now=100_000, **more)
        return [f"{t.user_id} {t.monitor_id}" for t in found]

    everything = [
        "anna done",
        "anna failed",
        "anna running",
        "bert cancelled",
        "anna soon",
        "anna later",
        "bert later",
    ]
    assert listed() == everything
    assert listed(limit=4) == everything[:4]
    assert listed("bert") == ["bert cancelled", "bert later"]
    assert listed("nobody") == []
    assert listed(when=When(50_000, 200_000)) == everything[1:4]
    assert listed(when=When(200_000)) == everything[4:]
    for status in ("running", "done", "failed"):
        assert listed(status=status) == [f"anna {status}"]
    assert listed(status="cancelled") == ["bert cancelled"]
    assert listed(status="pending") == everything[4:]
    assert listed("bert", "pending", when=When(0, 300_001)) == ["bert later"]
    assert listed(status="unheard of") == []


def test_tasks_are_counted_by_what_has_become_of_them(crowd: Feed) -> None:
    count = crowd.reader.count_tasks
    none = {"pending": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0}
    assert count(now=100_000) == {"pending": 3, "running": 1, "done": 1, "failed": 1, "cancelled": 1}
    assert count(now=99_999) == {"pending": 4, "running": 0, "done": 1, "failed": 1, "cancelled": 1}
    assert count("bert", now=100_000) == none | {"pending": 1, "cancelled": 1}
    assert count(when=When(50_000, 200_000), now=250_000) == none | {"running": 1, "failed": 1, "cancelled": 1}
    assert count("nobody", now=0) == none


# --- purged users ---------------------------------------------------------------------------------------------------

ENDED = 100 * MINUTE
FAR = 10_000 * MINUTE


def purge_of(user_id: str, *, end: int, ended_at: int = ENDED) -> Purge:
    return Purge(user_id, ended_at, FAR, {CHANGELOG: end})


def purge(feed: Feed, wanted: Purge, most: int = 2) -> dict[str, int]:
    """Begin a purge and carry it out in small steps; gives how many rows went in all."""
    feed.store.begin_purge(wanted)
    total: dict[str, int] = {}
    while some := feed.store.purge_some(wanted, most):
        assert max(some.values()) <= most
        total = {name: total.get(name, 0) + some.get(name, 0) for name in total | some}
    return total


def fill(feed: Feed, user_id: str) -> None:
    """A user with a monitor, one that begins later, a task, results and transitions."""
    later = monitor(user_id=user_id, since=ENDED + MINUTE - 1)
    later = replace(later, spec=replace(later.spec, monitor_id="later", start_at=ENDED + MINUTE))
    feed.put(user(user_id), monitor(user_id=user_id, since=MINUTE), later, task("once", ENDED - MINUTE, user_id))
    feed.results(*(result(n * MINUTE, user_id=user_id) for n in range(1, 6)))
    feed.transitions(Transition(user_id, "shop", MINUTE, State.NEW, State.UP, "", 1))
    # the second one was sent before the user ended, and refused after
    own = {"user_id": user_id, "key": user_id}
    feed.letters(letter(feed.next[LETTERS], **own), letter(feed.next[LETTERS] + 1, ENDED + 9, source_ms=ENDED, **own))
    feed.replies(reply(user_id=user_id))
    feed.audit(change(f"e-{user_id}", user_id=user_id))


def left(feed: Feed, user_id: str) -> dict[str, int]:
    reader = feed.reader
    return {
        "results": len(reader.results(ResultSelection(user_id))),
        "transitions": len(reader.transitions(TransitionSelection(user_id))),
        "history": len(list(reader.history(user_id))),
        "tasks": len(reader.tasks(user_id, now=ENDED)),
        "letters": len(reader.dead_letters(LetterSelection(user_id))),
        "replies": len(reader.replies(user_id)),
        "audit": len(reader.audit(AuditSelection(user_id))),
        "monitors": len(reader.monitors(user_id)),
        "users": int(reader.user(user_id) is not None),
    }


NOTHING_LEFT = dict.fromkeys(
    ("results", "transitions", "history", "tasks", "letters", "replies", "audit", "monitors", "users"), 0
)


@pytest.mark.parametrize("has_passed", [True, False], ids=["deletion stored", "sink behind"])
def test_a_purged_user_leaves_nothing_and_the_others_stay(feed: Feed, has_passed: bool) -> None:
    fill(feed, "anna")
    fill(feed, "annabel")
    others = left(feed, "annabel")
    end = feed.next[CHANGELOG] + 1
    if has_passed:
        feed.delete("anna", at=ENDED)
    went = purge(feed, purge_of("anna", end=end))
    assert went["results"] == 5
    assert went["transitions"] == 1
    assert (went["dead_letters"], went["replies"], went["audit_log"]) == (2, 1, 1)
    assert left(feed, "anna") == NOTHING_LEFT
    assert left(feed, "annabel") == others
    # once more, as after a kill: nothing is left to do
    assert purge(feed, purge_of("anna", end=end)) == {}


def test_what_the_topics_still_hold_of_a_purged_user_is_not_stored_again(feed: Feed) -> None:
    fill(feed, "anna")
    feed.delete("anna", at=ENDED)
    purge(feed, purge_of("anna", end=feed.next[CHANGELOG]))

    # results of checks that were under way, and everything once more, as after the offsets were lost
    feed.results(result(ENDED, started_at=ENDED + MINUTE))
    feed.store.forget_offsets([RESULTS, TRANSITIONS, CHANGELOG, LETTERS, REPLIES, AUDIT])
    fill(feed, "anna")
    feed.delete("anna", at=ENDED)
    assert left(feed, "anna") == NOTHING_LEFT

    # until the topics cannot hold it any more
    feed.stored_at = FAR + 1
    feed.results(result(ENDED))
    assert left(feed, "anna")["results"] == 1


def test_purged_users_are_told_from_others_in_a_batch_of_many(feed: Feed) -> None:
    names = [f"user-{n}" for n in range(2 * AT_ONCE + 3)]
    purged = names[:: AT_ONCE // 2]
    for name in purged:
        purge(feed, purge_of(name, end=0))
    feed.results(*(result(ENDED, user_id=name) for name in names))
    assert {each.result.user_id for each in feed.reader.results(limit=len(names))} == set(names) - set(purged)


def test_a_purged_user_who_signs_up_again_is_stored_and_only_the_old_rows_go(feed: Feed) -> None:
    fill(feed, "anna")
    feed.delete("anna", at=ENDED)
    end = feed.next[CHANGELOG]
    again = monitor(since=ENDED + 1)
    feed.store.begin_purge(purge_of("anna", end=end))
    feed.entries(
        CatalogueEntry("anna", "", replace(user(), registered_at=ENDED + 1)),
        CatalogueEntry("anna", "shop", again),
        at=ENDED,
    )
    feed.results(result(ENDED + MINUTE))
    feed.transitions(Transition("anna", "shop", ENDED + MINUTE, State.NEW, State.UP, "", 1))
    feed.letters(letter(9, ENDED + MINUTE, source_ms=ENDED + 1))
    feed.replies(reply(ENDED + 1))
    feed.audit(change("e-after", ENDED + 1))
    purge(feed, purge_of("anna", end=end))
    assert left(feed, "anna") == NOTHING_LEFT | {
        "results": 1, "transitions": 1, "history": 1, "letters": 1, "replies": 1, "audit": 1, "monitors": 1, "users": 1,
    }  # fmt: skip


def asked_purge(user_id: str, command_id: str = "p-1", *, deletion: int = 0) -> AskedPurge:
    return AskedPurge(key_of_purge(user_id, command_id), user_id, ENDED, CHANGELOG.number, deletion, True)


def test_a_purge_to_carry_out_is_there_once_and_counts_what_went_and_forgets_whose_it_was(feed: Feed) -> None:
    fill(feed, "anna")
    feed.delete("anna", at=ENDED)
    end = feed.next[CHANGELOG]
    asked = asked_purge("anna", deletion=end)
    feed.purges(asked)
    assert feed.store.purges_to_do() == [asked]
    wanted = replace(purge_of("anna", end=end), key=asked.key)
    went = purge(feed, wanted)
    assert feed.reader.purge("anna", "p-1") == StoredPurge(ENDED, True, went, 0, PurgeOutcome())
    outcome = PurgeOutcome(FAR, (Remains("results", FAR, "retention.ms 7d"), Remains("replies", None, "unbounded")))
    feed.store.finish_purge(asked, outcome, ENDED + 1)
    over = StoredPurge(ENDED, True, went, ENDED + 1, outcome)
    assert feed.reader.purge("anna", "p-1") == over
    # the same answer again, as after the offsets were lost
    feed.purges(asked)
    feed.store.finish_purge(asked, PurgeOutcome(refused="no"), ENDED + 2)
    assert (feed.store.purges_to_do(), feed.reader.purge("anna", "p-1")) == ([], over)
    assert feed.reader.purge("anna", "p-2") is None
    assert feed.reader.purge("annabel", "p-1") is None


def test_a_purge_that_is_asked_for_again_with_its_id_is_carried_out_again(feed: Feed) -> None:
    first = asked_purge("anna")
    feed.purges(first)
    feed.store.finish_purge(first, PurgeOutcome(), ENDED + 1)
    # the user signed up again meanwhile
    second = replace(first, ended_at=ENDED + MINUTE, deletion=7)
    feed.purges(second)
    assert feed.store.purges_to_do() == [second]
    feed.store.finish_purge(first, PurgeOutcome(refused="late"), ENDED + MINUTE + 1)
    assert feed.reader.purge("anna", "p-1") == StoredPurge(ENDED + MINUTE, True, {}, 0, PurgeOutcome())
    # once more before it was carried out, when the worker had no user any more: what it did first stays true
    third = replace(second, ended_at=ENDED + 2 * MINUTE, was_watched=False)
    feed.purges(third, second)
    assert feed.store.purges_to_do() == [replace(third, was_watched=True)]
    feed.store.finish_purge(third, PurgeOutcome(), ENDED + 2 * MINUTE + 1)
    assert feed.store.purges_to_do() == []


def test_purges_to_carry_out_are_given_behind_one_of_them(feed: Feed) -> None:
    same = sorted((asked_purge("anna"), asked_purge("bert")), key=lambda one: one.key)
    early = replace(asked_purge("carl"), ended_at=ENDED - 1)
    feed.purges(same[1], early, same[0])
    wanted = [early, *same]
    assert feed.store.purges_to_do() == wanted
    assert [feed.store.purges_to_do(each) for each in wanted] == [same, same[1:], []]


def test_an_earlier_purge_that_is_begun_later_takes_back_nothing_of_a_later_one(feed: Feed) -> None:
    late, early = purge_of("anna", end=0), purge_of("anna", end=0, ended_at=ENDED - MINUTE)
    feed.store.begin_purge(late, purge_of("bert", end=0))
    feed.store.begin_purge(replace(early, kept_until=FAR - 1))
    feed.stored_at = FAR
    feed.results(result(ENDED), result(ENDED, user_id="bert"))
    assert feed.reader.results(ResultSelection("anna")) == feed.reader.results(ResultSelection("bert")) == []


def test_a_user_that_is_watched_is_told_from_one_that_signed_up_later(feed: Feed) -> None:
    feed.put(user("anna"))
    registered_at = user("anna").registered_at
    assert feed.store.partition_of_watched("anna", registered_at) == CHANGELOG.number
    assert feed.store.partition_of_watched("anna", registered_at - 1) is None
    assert feed.store.partition_of_watched("bert", FAR) is None
