"""The inline kinds: heartbeat and noop. Instants in these tests are seconds, made ms where they are judged."""

from typing import Any

import orjson
import pytest

from everwatch.core.errors import InvalidInput
from everwatch.encoding import input_models, table_records
from everwatch.kinds import registry
from everwatch.kinds.heartbeat import HeartbeatConfig, HeartbeatKind
from everwatch.kinds.protocol import InlineView
from everwatch.model import (
    NO_SIGNALS,
    Align,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Outcome,
    Schedule,
    Signal,
    SignalState,
    SignalType,
    Status,
)
from everwatch.rules.admission import admit_monitor

NOON_S = 1_800_000_000
START, FAIL = SignalType.START, SignalType.FAIL


def judge(
    at_s: float,
    *,
    signal_s: float = 0,
    began_s: float = NOON_S,
    watching_s: float = NOON_S,
    signals: SignalState = NO_SIGNALS,
    **config: object,
) -> Outcome:
    """The outcome of a heartbeat of a minute with 10 s grace, at ``at_s`` seconds after noon."""
    kind = registry.kind_named("heartbeat")
    assert kind.inline
    parsed = registry.parse_config(kind, {"period": "60s", "grace": "10s"} | config)
    view = InlineView(round(began_s * 1000), round(watching_s * 1000), round(signal_s * 1000), signals)
    return kind.judge(parsed, view, round((NOON_S + at_s) * 1000))


@pytest.mark.parametrize(("at_s", "status"), [(0, Status.SUCCESS), (70, Status.SUCCESS), (70.001, Status.LATE)])
def test_a_job_that_never_reported_has_a_period_and_the_grace(at_s: float, status: Status) -> None:
    assert judge(at_s).status is status


@pytest.mark.parametrize(("at_s", "status"), [(100, Status.SUCCESS), (100.001, Status.LATE)])
def test_a_job_that_reported_has_a_period_and_the_grace_from_then(at_s: float, status: Status) -> None:
    assert judge(at_s, signal_s=NOON_S + 30).status is status


def test_after_a_takeover_a_job_that_looks_late_is_not_judged_for_the_length_of_the_grace() -> None:
    hours_ago = NOON_S - 7200
    for signal_s in (hours_ago, 0):
        assert judge(10, signal_s=signal_s, began_s=hours_ago - 60).status is Status.SKIPPED
        assert judge(10.001, signal_s=signal_s, began_s=hours_ago - 60).status is Status.LATE


def test_a_takeover_delays_the_verdict_by_a_minute_at_the_most() -> None:
    hours_ago = NOON_S - 7200
    assert judge(60, signal_s=hours_ago, began_s=hours_ago, grace="1h").status is Status.SKIPPED
    assert judge(60.001, signal_s=hours_ago, began_s=hours_ago, grace="1h").status is Status.LATE


def test_after_a_takeover_a_young_signal_keeps_its_own_deadline() -> None:
    assert judge(50, signal_s=NOON_S - 20, began_s=NOON_S - 100).status is Status.SUCCESS
    assert judge(50.001, signal_s=NOON_S - 20, began_s=NOON_S - 100).status is Status.LATE


def test_a_resumed_monitor_has_a_period_and_the_grace_anew() -> None:
    resumed = SignalState(counted_from=NOON_S * 1000)
    hours_ago = NOON_S - 7200
    assert judge(70, signal_s=hours_ago, watching_s=hours_ago, signals=resumed).status is Status.SUCCESS
    assert judge(70.001, signal_s=hours_ago, watching_s=hours_ago, signals=resumed).status is Status.LATE
    # what it said before, and was read afterwards, is no reason to count from there
    older = heard((-3_600, SignalType.SUCCESS), known=resumed)
    assert judge(70, watching_s=hours_ago, **older).status is Status.SUCCESS
    assert heard((5, SignalType.SUCCESS), known=resumed)["signals"] == NO_SIGNALS


def test_a_job_whose_only_success_is_two_days_old_by_its_timestamp_is_late_though_it_was_just_put() -> None:
    two_days_ago = NOON_S - 172_800
    late = judge(5, signal_s=two_days_ago, watching_s=two_days_ago, period="1d", grace="1h")
    assert late == Outcome(Status.LATE, "no heartbeat for 2 d (expected every 1 d, grace 1 h)")


def test_the_reason_says_for_how_long_and_what_was_expected() -> None:
    assert judge(75, signal_s=NOON_S).reason == "no heartbeat for 75 s (expected every 60 s, grace 10 s)"
    assert judge(75).reason == "no heartbeat since watching began 75 s ago (expected every 60 s, grace 10 s)"
    assert judge(75, signal_s=NOON_S + 60).reason == ""


def heard(*signals: tuple[float, SignalType] | Signal, known: SignalState = NO_SIGNALS) -> dict[str, Any]:
    """Return what is known after signals, given as seconds after noon and type; as arguments of ``judge``."""
    last_signal = 0
    for each in signals:
        signal = each if isinstance(each, Signal) else said(*each)
        last_signal, known = HeartbeatKind().take(HeartbeatConfig("60s"), last_signal, known, signal)
    return {"signal_s": last_signal / 1000, "signals": known}


def said(at_s: float, type_: SignalType = SignalType.SUCCESS, **more: Any) -> Signal:
    return Signal("u", "backup", round((NOON_S + at_s) * 1000), type_, **more)


def test_a_job_that_says_it_failed_has_failed_until_it_says_that_it_went_well() -> None:
    failed = heard((0, START), said(12.5, FAIL, exit_code=3))
    assert judge(13, **failed) == Outcome(
        Status.FAILURE,
        "the job failed with exit code 3 after 12.5 s, at 2027-01-15 08:00:12.500Z",
        {"duration": 12_500},
    )
    # neither silence nor a new start is a better word for it
    assert judge(7_200, **failed).status is Status.FAILURE
    assert judge(20, **heard(said(12.5, FAIL), (14, START))).status is Status.FAILURE
    assert judge(20, **heard(said(12.5, FAIL), (15, SignalType.SUCCESS))).status is Status.SUCCESS


def test_a_failure_that_gives_neither_code_nor_duration_is_told_without() -> None:
    assert judge(13, **heard((12, FAIL))).reason == "the job failed, at 2027-01-15 08:00:12Z"
    with_duration = heard(said(12, FAIL, duration_ms=250))
    assert judge(13, **with_duration).reason == "the job failed after 0.25 s, at 2027-01-15 08:00:12Z"


def test_a_success_that_comes_late_but_happened_before_the_failure_does_not_hide_it() -> None:
    assert judge(13, **heard((12, FAIL), (11, SignalType.SUCCESS))).status is Status.FAILURE
    assert judge(13, **heard((11, SignalType.SUCCESS), (12, FAIL))).status is Status.FAILURE


def test_a_run_that_takes_too_long_is_a_failure_and_it_is_said_since_when_it_runs() -> None:
    running = heard((0, SignalType.SUCCESS), (5, START))
    assert judge(35, **running, max_duration="30s").status is Status.SUCCESS
    failed = judge(36.4, **running, max_duration="30s", watching_s=NOON_S - 60)
    assert failed == Outcome(Status.FAILURE, "running since 2027-01-15 08:00:05Z, for 31 s (at most 30 s)")
    assert judge(36.4, **running).status is Status.SUCCESS  # nobody said for how long it may


def test_a_run_that_ended_is_not_late_however_long_ago_it_began() -> None:
    ended = heard((0, START), (20, SignalType.SUCCESS))
    assert judge(60, **ended, max_duration="30s").status is Status.SUCCESS


def test_a_run_that_went_well_but_took_too_long_or_too_little_time_is_a_failure_until_one_does_not() -> None:
    long, short = heard((0, START), (31, SignalType.SUCCESS)), heard(said(31, duration_ms=900))
    assert judge(32, **long, max_duration="30s") == Outcome(
        Status.FAILURE,
        "the run took 31 s, until 2027-01-15 08:00:31Z: at most 30 s is allowed",
        {"duration": 31_000},
    )
    assert judge(32, **short, min_duration="1s") == Outcome(
        Status.FAILURE,
        "the run took 0.9 s, until 2027-01-15 08:00:31Z: at least 1 s is expected",
        {"duration": 900},
    )
    # also long after it would be late
    assert judge(900, **long, max_duration="30s").status is Status.FAILURE
    better = heard((0, START), (31, SignalType.SUCCESS), (40, START), (50, SignalType.SUCCESS))
    assert judge(51, **better, min_duration="1s", max_duration="30s").status is Status.SUCCESS
    # of a run that nobody timed nothing is said
    assert judge(32, **heard((31, SignalType.SUCCESS)), min_duration="1s", max_duration="2s").status is Status.SUCCESS


def run(at_s: float, name: str, type_: SignalType = SignalType.SUCCESS, **more: Any) -> Signal:
    return said(at_s, type_, run=name, **more)


def test_runs_that_overlap_are_told_apart_by_their_ids() -> None:
    both = heard(run(0, "a", START), run(20, "b", START), run(31, "b"))
    # b took 11 s, and a is still running
    assert judge(35, **both, max_duration="60s").timings == {"duration": 11_000}
    overdue = judge(61, **both, max_duration="60s", watching_s=NOON_S - 60)
    assert overdue == Outcome(
        Status.FAILURE, "run 'a' has been running since 2027-01-15 08:00:00Z, for 61 s (at most 60 s)"
    )
    ended = heard(run(0, "a", START), run(20, "b", START), run(31, "b"), run(62, "a"))
    assert judge(63, **ended, max_duration="60s").reason == (
        "the run 'a' took 62 s, until 2027-01-15 08:01:02Z: at most 60 s is allowed"
    )
    failed = heard(run(0, "a", START), run(20, "b", START), run(31, "b", FAIL, exit_code=2))
    assert judge(35, **failed).reason == "the run 'b' failed with exit code 2 after 11 s, at 2027-01-15 08:00:31Z"


def test_a_run_that_never_ends_is_a_failure_until_another_goes_well_after_its_time() -> None:
    lost = heard(run(0, "a", START), run(20, "b", START), run(25, "b"))
    assert judge(31, **lost, max_duration="30s", watching_s=NOON_S - 60).status is Status.FAILURE
    found = heard(run(0, "a", START), run(20, "b", START), run(25, "b"), run(40, "c", START), run(45, "c"))
    assert judge(50, **found, max_duration="30s").status is Status.SUCCESS


def test_a_start_that_comes_after_the_end_of_its_run_opens_none_and_times_it() -> None:
    signals = [run(0, "a", START), run(12, "a"), run(1, "b", START)]
    for order in ([0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 1, 0]):
        known = heard(*(signals[i] for i in order))
        assert judge(15, **known, max_duration="15s").timings == {"duration": 12_000}
        assert judge(17, **known, max_duration="15s", watching_s=NOON_S - 60).reason.startswith("run 'b' has been")
    at_once = heard(run(1, "a", START), run(1, "a"))
    assert judge(40, **at_once, max_duration="15s") == Outcome(Status.SUCCESS, "", {"duration": 0})
    # the same signals once more, as after a crash of the worker
    assert heard(*signals, *signals) == heard(*signals)


def test_what_is_kept_of_runs_is_bounded() -> None:
    many = [run(i, f"{i:064}", START) for i in range(500)] + [run(500 + i, f"{i:064}") for i in range(400)]
    known = heard(*many)["signals"]
    assert [each.run[-3:] for each in known.runs] == [f"{i:03}" for i in (*range(395, 400), *range(480, 500))]
    monitor = Monitor("u", MonitorSpec("m", "heartbeat", "{}", Every(1_000)), Origin.SIGNUP, 1, 0, signals=known)
    assert len(table_records.encode_monitor(monitor)) < 3_000


@pytest.mark.parametrize(
    ("config", "schedule"),
    [
        ({"period": "1d"}, Every(30_000)),
        ({"cron": "0 3 * * *", "grace": "1h"}, Every(30_000, Align.EPOCH)),
        ({"cron": "0 3 * * *", "grace": "45s"}, Every(15_000, Align.EPOCH)),
        ({"cron": "0 3 * * *", "grace": "0s"}, Every(30_000, Align.EPOCH)),
        ({"cron": "0 3 * * *", "grace": "7s"}, Every(30_000)),
    ],
)
def test_looks_are_so_that_one_falls_on_the_end_of_the_grace_of_a_cron_expression(
    config: dict[str, object], schedule: Schedule
) -> None:
    given = MonitorSpec("m", "heartbeat", orjson.dumps(config).decode(), input_models.NO_SCHEDULE)
    assert admit_monitor(given, "$").schedule == schedule


def test_a_new_start_begins_the_time_of_a_run_anew() -> None:
    assert judge(45, **heard((0, START), (20, START)), max_duration="30s").status is Status.SUCCESS


def test_just_after_a_takeover_a_run_that_looks_too_long_is_not_judged() -> None:
    running = heard((0, SignalType.SUCCESS), (1, START))
    assert judge(40, **running, max_duration="30s", watching_s=NOON_S + 35).status is Status.SKIPPED
    assert judge(46, **running, max_duration="30s", watching_s=NOON_S + 35).status is Status.FAILURE


def test_a_start_alone_is_no_sign_of_life() -> None:
    started = judge(71, **heard((0, SignalType.SUCCESS), (60, START)))
    assert started == Outcome(Status.LATE, "no heartbeat for 71 s (expected every 60 s, grace 10 s)")


def test_how_long_a_run_took_is_measured_from_its_start_or_as_the_job_says() -> None:
    assert judge(9, **heard((1, START), (8.25, SignalType.SUCCESS))).timings == {"duration": 7_250}
    assert judge(9, **heard((1, START), said(8.25, duration_ms=7_000.5))).timings == {"duration": 7_000.5}
    assert judge(9, **heard(said(8.25, duration_ms=12.5))).timings == {"duration": 12.5}
    # a run whose start nobody saw, after one that was measured
    assert judge(9, **heard((1, START), (2, SignalType.SUCCESS), (8, SignalType.SUCCESS))).timings == {}
    # while the next one runs, the last one's is told
    assert judge(9, **heard((1, START), (3, SignalType.SUCCESS), (8, START))).timings == {"duration": 2_000}


def test_a_value_is_not_for_a_heartbeat() -> None:
    with pytest.raises(InvalidInput) as caught:
        heard(said(0, value=7.0))
    assert caught.value.path == "$.value"


def test_a_noop_is_always_well() -> None:
    kind = registry.kind_named("noop")
    assert kind.inline
    assert kind.judge(registry.parse_config(kind, {}), InlineView(0, 0, 0), 5) == Outcome(Status.SUCCESS)


@pytest.mark.parametrize(
    ("kind", "config", "path"),
    [
        ("heartbeat", {}, "$.config.period"), ("heartbeat", {"period": "soon"}, "$.config.period"),
        ("heartbeat", {"period": "0s"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "grace": -1}, "$.config.grace"),
        ("heartbeat", {"period": "P1M"}, "$.config.period"), ("heartbeat", {"period": "9000d"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "grace": None}, "$.config.grace"), ("noop", {"a": 1}, "$.config.a"),
        ("heartbeat", {"period": "1m", "max_duration": "0s"}, "$.config.max_duration"),
        ("heartbeat", {"period": "1m", "max_duration": "long"}, "$.config.max_duration"),
        ("heartbeat", {"period": "1m", "cron": "0 3 * * *"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "min_duration": "1m", "max_duration": "59s"}, "$.config.min_duration"),
        ("heartbeat", {"period": "1m", "min_duration": 0}, "$.config.min_duration"),
        ("heartbeat", {"cron": "0 25 * * *"}, "$.config.cron"),
        ("heartbeat", {"cron": "0 3 * * *", "timezone": "Berlin/Mitte"}, "$.config.timezone"),
        ("heartbeat", {"period": "1m", "timezone": "Europe/Berlin"}, "$.config.timezone"),
        ("heartbeat", {"cron": "0 3 * * *", "within": {}}, "$.config.within"),
        ("heartbeat", {"period": "36d", "within": {}}, "$.config.within"),
        ("heartbeat", {"period": "1m", "within": {"days": "MO-FR"}}, "$.config.within.days"),
        ("heartbeat", {"period": "1m", "within": {"days": "MON-"}}, "$.config.within.days"),
        ("heartbeat", {"period": "1m", "within": {"from": "8:00"}}, "$.config.within.from"),
        ("heartbeat", {"period": "1m", "within": {"from": "24:00"}}, "$.config.within.from"),
        ("heartbeat", {"period": "1m", "within": {"to": "24:01"}}, "$.config.within.to"),
        ("heartbeat", {"period": "1m", "within": {"from": "08:00", "to": "08:00"}}, "$.config.within.to"),
        ("heartbeat", {"period": "1m", "within": {"timezone": "CEST"}}, "$.config.within.timezone"),
        ("heartbeat", {"period": "1m", "within": {"until": "18:00"}}, "$.config.within.until"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(kind: str, config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named(kind), config)
    assert caught.value.path == path
