"""The audit: what each tick is labelled, case by case.

All in one file: cases of one function, label by label.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from everwatch.model import (
    Align,
    At,
    Cron,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    Retries,
    Status,
)
from everwatch.operations.audit import AuditReport, AuditTerms, Label, audit
from everwatch.rules import lifecycle
from everwatch.schedule.spread import spread_of
from everwatch.store import CatalogueEntry, Identity, MemoryStore, Partition, Received, SinkBatch, Stretch

MINUTE = 60_000
HOUR = 60 * MINUTE
NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
MINUTELY = Every(MINUTE, Align.EPOCH)


def stretch(since: int = NOON - HOUR, until: int | None = None, schedule: Any = MINUTELY, **fields: Any) -> Stretch:
    usual: dict[str, Any] = {"user_id": "anna", "monitor_id": "shop", "version": 1, "kind": "http", "policy": Policy()}
    return Stretch(since=since, until=until, schedule=schedule, **usual | fields)


def ran(at: int, attempt: int = 1, status: Status = Status.SUCCESS, **fields: Any) -> Identity:
    usual: dict[str, Any] = {
        "user_id": "anna",
        "monitor_id": "shop",
        "deliveries": 1,
        "skipped_until": 0,
        "skipped_count": 0,
        "manual": False,
        "started_at": at + 100,
    }
    return Identity(scheduled_at=at, attempt=attempt, status=status.value, **usual | fields)


def failed(at: int, attempt: int = 1, **fields: Any) -> Identity:
    return ran(at, attempt, Status.FAILURE, **fields)


def skipped(at: int, until: int = 0, count: int = 1, **fields: Any) -> Identity:
    return ran(at, status=Status.SKIPPED, skipped_until=until or at, skipped_count=count, **fields)


def audited(
    history: Iterable[Stretch],
    found: Iterable[Identity] = (),
    begin: int = NOON,
    end: int = NOON + 3 * MINUTE,
    **options: Any,
) -> AuditReport:
    in_order = sorted(found, key=lambda i: (i.user_id, i.scheduled_at, i.monitor_id, i.attempt))
    return audit(history, in_order, AuditTerms(begin, end, **options))


def counts(report: AuditReport) -> dict[str, int]:
    return {label.value: count for label, count in report.counts.items() if count}


def minutes(*numbers: int) -> list[int]:
    return [NOON + number * MINUTE for number in numbers]


# --- one tick -------------------------------------------------------------------------------------------------------


def test_ticks_that_all_ran_once_are_on_time() -> None:
    report = audited([stretch()], map(ran, minutes(0, 1, 2)))
    assert counts(report) == {"on_time": 3}
    assert (report.ticks, report.users, report.monitors, report.is_clean) == (3, 1, 1, True)


def test_a_tick_without_a_result_is_missed_and_told_with_its_version() -> None:
    report = audited([stretch(version=7)], map(ran, minutes(0, 2)))
    assert counts(report) == {"on_time": 2, "missed": 1}
    [finding] = report.missed
    assert (finding.user_id, finding.monitor_id, finding.instant) == ("anna", "shop", NOON + MINUTE)
    assert "version 7" in finding.reason
    assert not report.is_clean


def test_a_result_where_nothing_was_due_is_a_duplicate() -> None:
    report = audited([stretch()], map(ran, [*minutes(0, 1, 2), NOON + 100]))
    assert counts(report) == {"on_time": 3, "duplicate": 1}
    assert [f.instant for f in report.duplicates] == [NOON + 100]
    assert not report.is_clean


def test_results_of_a_monitor_that_never_was_are_duplicates() -> None:
    assert counts(audited([], [ran(NOON)])) == {"duplicate": 1}


def test_a_first_run_that_began_behind_its_time_is_late_also_if_it_was_tried_again() -> None:
    policy = Policy(retries=Retries(most=1))
    found = [
        ran(NOON, started_at=NOON + 1_000),
        ran(NOON + MINUTE, started_at=NOON + MINUTE + 1_001),
        failed(NOON + 2 * MINUTE, started_at=NOON + 2 * MINUTE + 5_000),
        ran(NOON + 2 * MINUTE, attempt=2),
    ]
    assert counts(audited([stretch(policy=policy)], found)) == {"on_time": 1, "late": 2}
    assert counts(audited([stretch(policy=policy)], found, late_after_ms=6_000)) == {"on_time": 2, "retried": 1}


def test_a_retry_that_runs_long_after_its_tick_makes_nothing_late() -> None:
    found = [failed(NOON), ran(NOON, attempt=2, started_at=NOON + 10 * MINUTE)]
    assert counts(audited([stretch(policy=Policy(retries=Retries(most=1)))], found, end=NOON + 1)) == {"retried": 1}


def test_an_attempt_beyond_what_the_policy_allows_is_a_duplicate() -> None:
    found = [failed(NOON), failed(NOON, attempt=2), failed(NOON, attempt=3)]
    report = audited([stretch(policy=Policy(retries=Retries(most=1)))], found, end=NOON + 1)
    assert counts(report) == {"retried": 1, "duplicate": 1}
    assert "attempt 3" in report.duplicates[0].reason


@pytest.mark.parametrize(("deliveries", "expected"), [(1, {"retried": 1, "duplicate": 1}), (2, {"retried": 1})])
def test_a_retry_of_what_did_not_fail_counts_twice_unless_another_delivery_may_have_failed(
    deliveries: int, expected: dict[str, int]
) -> None:
    found = [ran(NOON, deliveries=deliveries), ran(NOON, attempt=2)]
    assert counts(audited([stretch(policy=Policy(retries=Retries(most=1)))], found, end=NOON + 1)) == expected


def test_one_identity_held_twice_is_a_duplicate() -> None:
    assert counts(audited([stretch()], [ran(NOON), ran(NOON)], end=NOON + 1)) == {"on_time": 1, "duplicate": 1}


def test_results_that_came_twice_and_are_held_once_are_no_fault() -> None:
    report = audited([stretch()], [ran(NOON, deliveries=3), *map(ran, minutes(1, 2))])
    assert (report.redelivered, report.is_clean) == (2, True)


# --- runs beside the schedule ---------------------------------------------------------------------------------------


def test_manual_runs_their_retries_and_their_skips_are_counted_apart() -> None:
    found = [
        *map(ran, minutes(0, 1, 2)),
        failed(NOON + 1_001, manual=True),
        ran(NOON + 1_001, attempt=2),
        skipped(NOON + 2_001, manual=True),
    ]
    report = audited([stretch(policy=Policy(retries=Retries(most=1)))], found)
    assert counts(report) == {"on_time": 3}
    assert report.manual == 2


def test_a_manual_run_stands_for_no_tick() -> None:
    report = audited([stretch()], [ran(NOON, manual=True), *map(ran, minutes(1, 2))])
    assert counts(report) == {"on_time": 2, "missed": 1}
    assert report.manual == 1


# --- skipped --------------------------------------------------------------------------------------------------------


def test_one_skipped_result_stands_for_all_ticks_in_its_span() -> None:
    found = [skipped(NOON, NOON + 2 * MINUTE, 3), ran(NOON + 3 * MINUTE)]
    assert counts(audited([stretch()], found, end=NOON + 4 * MINUTE)) == {"skipped": 3, "on_time": 1}


def test_a_span_that_begins_before_and_ends_behind_the_interval_stands_for_what_is_within() -> None:
    report = audited([stretch()], [skipped(NOON - 10 * MINUTE, NOON + 10 * MINUTE, 21)])
    assert counts(report) == {"skipped": 3}
    assert report.redelivered == 0


def test_ticks_beyond_the_number_that_a_skipped_result_stands_for_are_missed() -> None:
    report = audited([stretch()], [skipped(NOON, NOON + 2 * MINUTE, 2)])
    assert counts(report) == {"skipped": 2, "missed": 1}
    assert [finding.instant for finding in report.missed] == minutes(2)


def test_a_tick_that_ran_after_all_stays_on_time_and_the_span_it_began_stands_for_the_others() -> None:
    found = [ran(NOON, skipped_until=NOON + 2 * MINUTE, skipped_count=3, deliveries=2)]
    report = audited([stretch()], found)
    assert counts(report) == {"on_time": 1, "skipped": 2}
    assert (report.redelivered, report.is_clean) == (1, True)


def test_a_tick_within_a_span_that_ran_nevertheless_is_on_time() -> None:
    found = [skipped(NOON, NOON + 2 * MINUTE, 3), ran(NOON + MINUTE)]
    assert counts(audited([stretch()], found)) == {"on_time": 1, "skipped": 2}


def test_a_retry_that_was_skipped_leaves_its_tick_what_the_first_run_made_it() -> None:
    policy = Policy(retries=Retries(most=2))
    found = [failed(NOON), skipped(NOON, attempt=2)]
    assert counts(audited([stretch(policy=policy)], found, end=NOON + 1)) == {"on_time": 1}


def test_the_skip_of_a_retry_excuses_no_other_tick() -> None:
    policy = Policy(retries=Retries(most=2))
    found = [failed(NOON), skipped(NOON, NOON + MINUTE, 2, attempt=2)]
    assert counts(audited([stretch(policy=policy)], found, end=NOON + 2 * MINUTE)) == {"on_time": 1, "missed": 1}


def test_a_skipped_result_where_nothing_was_due_is_a_duplicate() -> None:
    assert counts(audited([], [skipped(NOON)])) == {"duplicate": 1}


# --- which ticks are due --------------------------------------------------------------------------------------------


def test_ticks_outside_the_interval_are_not_looked_at() -> None:
    assert counts(audited([stretch()], [ran(NOON)], NOON, NOON + MINUTE)) == {"on_time": 1}
    assert counts(audited([stretch()], [], NOON + 1, NOON + MINUTE)) == {}


def test_a_monitor_is_due_strictly_after_it_began_and_up_to_its_end() -> None:
    report = audited([stretch(NOON, NOON + 2 * MINUTE)], map(ran, minutes(1, 2)), end=NOON + 9 * MINUTE)
    assert counts(report) == {"on_time": 2}
    one_more = audited([stretch(NOON, NOON + 2 * MINUTE)], map(ran, minutes(0, 1, 2, 3)), end=NOON + 9 * MINUTE)
    assert counts(one_more) == {"on_time": 2, "duplicate": 2}


def test_a_monitor_is_not_due_after_its_last_instant() -> None:
    bounded = stretch(ends_at=NOON + MINUTE)
    assert counts(audited([bounded], map(ran, minutes(0, 1)))) == {"on_time": 2}
    assert counts(audited([bounded], map(ran, minutes(0, 1, 2)))) == {"on_time": 2, "duplicate": 1}


def test_a_monitor_changed_in_the_interval_is_due_under_its_old_spec_and_then_its_new_one() -> None:
    changed_at = NOON + 90_000
    history = [stretch(until=changed_at), stretch(changed_at, schedule=Every(10_000, Align.EPOCH), version=2)]
    found = [*map(ran, minutes(0, 1)), *(ran(NOON + t) for t in range(100_000, 180_000, 10_000))]
    assert counts(audited(history, found)) == {"on_time": 10}
    assert counts(audited(history, found[:-1])) == {"on_time": 9, "missed": 1}


def test_a_result_of_the_spec_before_counts_where_its_instant_is_due_under_the_new_one_too() -> None:
    history = [stretch(until=NOON - 1), stretch(NOON - 1, version=2)]
    assert counts(audited(history, map(ran, minutes(0, 1, 2)))) == {"on_time": 3}


def test_nothing_is_due_in_a_pause() -> None:
    history = [stretch(until=NOON + 30_000), stretch(NOON + 150_000)]
    assert counts(audited(history, map(ran, minutes(0, 3)), end=NOON + 4 * MINUTE)) == {"on_time": 2}
    assert counts(audited(history, map(ran, minutes(0, 1, 3)), end=NOON + 4 * MINUTE)) == {
        "on_time": 2,
        "duplicate": 1,
    }


def test_a_tick_due_in_two_stretches_that_overlap_is_due_once() -> None:
    history = [stretch(), stretch(NOON - MINUTE, version=2)]
    assert counts(audited(history, map(ran, minutes(0, 1, 2)))) == {"on_time": 3}
    assert counts(audited(history, map(ran, minutes(0, 1)))) == {"on_time": 2, "missed": 1}


def test_the_retries_that_a_tick_may_have_are_those_of_its_own_stretch() -> None:
    changed_at = NOON + 30_000
    history = [stretch(until=changed_at, policy=Policy(retries=Retries(most=1))), stretch(changed_at, version=2)]
    found = [failed(NOON), ran(NOON, 2), failed(NOON + MINUTE), ran(NOON + MINUTE, 2), ran(NOON + 2 * MINUTE)]
    assert counts(audited(history, found)) == {"retried": 2, "on_time": 1, "duplicate": 1}


def test_a_delayed_task_is_due_once_also_when_its_instant_had_passed() -> None:
    task = At(NOON + 1_234)
    assert counts(audited([stretch(schedule=task)], [ran(NOON + 1_234)])) == {"on_time": 1}
    late_signup = stretch(NOON + 5_000, NOON + 5_001, task)
    assert counts(audited([late_signup], [ran(NOON + 5_001)])) == {"on_time": 1}
    assert counts(audited([late_signup], [])) == {"missed": 1}


def test_spread_cron_is_due_later_by_the_monitors_own_offset() -> None:
    schedule = Cron("*/30 * * * *", "UTC", spread_ms=20 * MINUTE)
    offset = spread_of(b"anna\0shop", schedule.spread_ms)
    assert offset
    report = audited(
        [stretch(schedule=schedule)], [ran(NOON + offset), ran(NOON + offset + HOUR // 2)], end=NOON + HOUR
    )
    assert counts(report) == {"on_time": 2}
    # due within the interval, although the expression came true before it
    assert counts(audited([stretch(schedule=schedule)], [ran(NOON + offset)], NOON + offset, NOON + offset + 1)) == {
        "on_time": 1
    }


def berlin(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * 1000


def test_days_of_23_and_25_hours_have_the_ticks_that_the_wall_clock_has() -> None:
    night = Cron("30 2 * * *", "Europe/Berlin")
    begin, end = berlin("2026-03-28T12:00"), berlin("2026-03-30T12:00")
    since = begin - HOUR
    in_the_gap = [ran(berlin("2026-03-29T03:00")), ran(berlin("2026-03-30T02:30"))]
    assert counts(audited([stretch(since, schedule=night)], in_the_gap, begin, end)) == {"on_time": 2}

    hourly = Every(HOUR, Align.MIDNIGHT, "Europe/Berlin")
    day, next_day = berlin("2026-10-25T00:00"), berlin("2026-10-26T00:00")
    found = [ran(t) for t in range(day, next_day, HOUR)]
    assert counts(audited([stretch(day - HOUR, schedule=hourly)], found, day, next_day)) == {"on_time": 25}


# --- users, monitors, examples --------------------------------------------------------------------------------------


def test_every_user_and_monitor_is_told_apart() -> None:
    history = [
        stretch(user_id="anna", monitor_id="blog"),
        stretch(user_id="anna", monitor_id="shop"),
        stretch(user_id="bert", monitor_id="shop"),
        stretch(user_id="carl", until=NOON - MINUTE),
    ]
    found = [
        ran(NOON, monitor_id="blog"),
        ran(NOON, monitor_id="shop"),
        ran(NOON, user_id="dora"),
    ]
    report = audited(history, found, end=NOON + 1)
    assert counts(report) == {"on_time": 2, "missed": 1, "duplicate": 1}
    assert (report.users, report.monitors) == (3, 4)
    assert [(f.user_id, f.monitor_id) for f in report.missed] == [("bert", "shop")]
    assert [(f.user_id, f.monitor_id) for f in report.duplicates] == [("dora", "shop")]


def test_examples_are_the_first_ones_and_the_counts_tell_of_all() -> None:
    found = [ran(NOON + 100 * i) for i in range(1, 10)]
    report = audited([stretch()], found, most_examples=2)
    assert counts(report) == {"missed": 3, "duplicate": 9}
    assert (len(report.missed), len(report.duplicates)) == (2, 2)


def test_nothing_at_all_is_clean() -> None:
    report = audited([], [])
    assert (report.ticks, report.users, report.is_clean) == (0, 0, True)


# --- the history as a store keeps it --------------------------------------------------------------------------------


CHANGELOG, RESULTS = Partition("changelog", 0), Partition("results", 0)


def test_the_story_of_a_task_that_failed_and_was_tried_again_is_one_tick() -> None:
    policy = Policy(retries=Retries(most=1))
    spec = MonitorSpec("shop", "http", "{}", At(NOON), policy)
    put = lifecycle.first_put("anna", spec, Origin.COMMAND, NOON - HOUR, NOON - HOUR)
    first = Result("anna", "shop", NOON, "http", 1, Status.FAILURE, "no answer", NOON + 50, 10.0)
    second = Result("anna", "shop", NOON, "http", 1, Status.SUCCESS, "200 OK", NOON + 6_000, 10.0, attempt=2)
    pending = lifecycle.after_result(put, first)
    done = lifecycle.after_result(pending, second)
    store = stored([put, pending, done], [first, second])
    report = audit(store.history(), store.identities(NOON, NOON + HOUR), AuditTerms(NOON, NOON + HOUR))
    assert counts(report) == {"retried": 1}


def test_a_monitor_that_ran_for_the_last_time_owes_nothing_more() -> None:
    spec = MonitorSpec("shop", "http", "{}", MINUTELY, max_runs=2)
    put = lifecycle.first_put("anna", spec, Origin.COMMAND, NOON - 1, NOON - 1)
    results = [Result("anna", "shop", at, "http", 1, Status.SUCCESS, "", at + 50, 1.0) for at in minutes(0, 1)]
    up = lifecycle.after_result(put, results[0])
    done = lifecycle.after_result(up, results[1])
    store = stored([put, up, done], results)
    report = audit(store.history(), store.identities(NOON, NOON + HOUR), AuditTerms(NOON, NOON + HOUR))
    assert counts(report) == {"on_time": 2}


def stored(monitors: list[Monitor], results: list[Result]) -> MemoryStore:
    store = MemoryStore()
    entries = [Received(CHANGELOG, i, 1, CatalogueEntry(m.user_id, m.monitor_id, m)) for i, m in enumerate(monitors)]
    received = [Received(RESULTS, i, 1, result) for i, result in enumerate(results)]
    store.apply(SinkBatch(1, {CHANGELOG: len(entries), RESULTS: len(received)}, results=received, entries=entries))
    return store


def test_labels_of_ticks_add_up() -> None:
    found = [ran(NOON), skipped(NOON + MINUTE)]
    report = audited([stretch()], found)
    assert report.ticks == 3
    assert report.counts[Label.MISSED] == 1


# --- what is not missed ----------------------------------------------------------------------------------------------


def test_a_tick_that_waits_for_its_run_is_not_missed() -> None:
    waits_from = NOON + MINUTE
    report = audited([stretch()], [], waits=lambda _, instant: instant >= waits_from)
    assert (report.counts[Label.WAITING], report.counts[Label.MISSED], report.ticks) == (2, 1, 3)
    assert not report.is_clean
    waiting = audited([stretch()], [ran(NOON)], waits=lambda _, instant: instant >= waits_from)
    assert waiting.is_clean


def test_of_before_the_database_nothing_is_called_missed() -> None:
    report = audited([stretch()], [], known_since=NOON + 2 * MINUTE)
    assert (report.counts[Label.UNKNOWN], report.counts[Label.MISSED]) == (2, 1)
    late = audited([stretch()], [ran(NOON)], known_since=NOON + HOUR)
    assert (late.counts[Label.ON_TIME], late.counts[Label.UNKNOWN], late.is_clean) == (1, 2, True)


def test_a_result_of_a_version_that_the_history_does_not_know_is_not_too_many() -> None:
    later = stretch(since=NOON + MINUTE, version=3)
    report = audited([later], [ran(NOON), ran(NOON + 1_000), ran(NOON + 2 * MINUTE)])
    assert report.counts[Label.DUPLICATE] == 0
    first = stretch(since=NOON + MINUTE, version=1)
    assert audited([first], [ran(NOON), ran(NOON + 2 * MINUTE)]).counts[Label.DUPLICATE] == 1


# --- regions --------------------------------------------------------------------------------------------------------


def test_a_tick_of_a_monitor_in_regions_is_due_once_in_each_of_them() -> None:
    policy = Policy(regions=("eu", "us"))
    found = [ran(at, region=region) for at in minutes(0, 1, 2) for region in ("eu", "us")]
    assert counts(audited([stretch(policy=policy)], found)) == {"on_time": 6}
    report = audited([stretch(policy=policy)], found[:-1])
    assert counts(report) == {"on_time": 5, "missed": 1}
    assert report.missed[0].reason.endswith("(region us)")
    assert report.monitors == 1


def test_a_region_that_a_monitor_does_not_name_ran_what_was_not_due() -> None:
    found = [*map(ran, minutes(0, 1, 2)), ran(NOON, region="eu")]
    assert counts(audited([stretch()], found)) == {"on_time": 3, "duplicate": 1}
    assert counts(audited([], [ran(NOON, region="eu")])) == {"duplicate": 1}


def test_a_tick_that_a_worker_skipped_is_skipped_in_all_regions() -> None:
    policy = Policy(regions=("eu", "us"))
    assert counts(audited([stretch(policy=policy)], [skipped(NOON, NOON + 2 * MINUTE, 3)])) == {"skipped": 6}


def test_what_a_worker_skipped_stands_in_the_regions_that_the_monitor_named_then() -> None:
    """Its regions are changed from none to two, then to three, and back to none; ticks are skipped meanwhile."""
    named: tuple[tuple[str, ...], ...] = ((), ("eu", "us"), ("eu", "sa", "us"), ())
    stretches = [
        stretch(version=number + 1, since=since, until=since + 2 * MINUTE, policy=Policy(regions=regions))
        for number, regions in enumerate(named)
        for since in [NOON - 1 + 2 * number * MINUTE]
    ]
    found = [skipped(NOON + 2 * number * MINUTE, NOON + (2 * number + 1) * MINUTE, 2) for number in range(4)]
    assert counts(audited(stretches, found, end=NOON + 8 * MINUTE)) == {"skipped": 2 * (1 + 2 + 3 + 1)}
    # one of a time at which it was not active is one too many, once
    later = [stretch(since=NOON + MINUTE, policy=Policy(regions=("eu", "us")))]
    assert counts(audited(later, [skipped(NOON)], end=NOON + 2 * MINUTE)) == {"duplicate": 1}


def test_a_run_in_regions_is_tried_again_where_it_went_well_too() -> None:
    policy = Policy(regions=("eu",), retries=Retries(1))
    found = [ran(NOON, region="eu"), ran(NOON, 2, region="eu")]
    assert counts(audited([stretch(policy=policy)], found, end=NOON + MINUTE)) == {"retried": 1}
