"""The inline kinds: heartbeat and noop. Instants in these tests are seconds, made ms where they are judged."""

from typing import Any

import pytest

from everwatch.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.heartbeat import HeartbeatConfig, HeartbeatKind
from everwatch.kinds.protocol import InlineView
from everwatch.model import NO_SIGNALS, Outcome, Signal, SignalState, SignalType, Status

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
    assert judge(70, signal_s=NOON_S - 7200, watching_s=NOON_S - 7200).status is Status.SUCCESS
    assert judge(70.001, signal_s=NOON_S - 7200, watching_s=NOON_S - 7200).status is Status.LATE


def test_the_reason_says_for_how_long_and_what_was_expected() -> None:
    assert judge(75, signal_s=NOON_S).reason == "no heartbeat for 75 s (expected every 60 s, grace 10 s)"
    assert judge(75).reason == "no heartbeat since watching began 75 s ago (expected every 60 s, grace 10 s)"
    assert judge(75, signal_s=NOON_S + 60).reason == ""


def heard(*signals: tuple[float, SignalType] | Signal) -> dict[str, Any]:
    """What is known after signals, given as seconds after noon and type; as arguments of ``judge``."""
    last_signal, known = 0, NO_SIGNALS
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


def test_a_run_that_takes_too_long_is_late_and_it_is_said_since_when_it_runs() -> None:
    running = heard((0, SignalType.SUCCESS), (5, START))
    assert judge(35, **running, max_duration="30s").status is Status.SUCCESS
    late = judge(36.4, **running, max_duration="30s", watching_s=NOON_S - 60)
    assert late == Outcome(Status.LATE, "running since 2027-01-15 08:00:05Z, for 31 s (at most 30 s)")
    assert judge(36.4, **running).status is Status.SUCCESS  # nobody said for how long it may


def test_a_run_that_ended_is_not_late_however_long_ago_it_began() -> None:
    ended = heard((0, START), (20, SignalType.SUCCESS))
    assert judge(60, **ended, max_duration="30s").status is Status.SUCCESS


def test_a_new_start_begins_the_time_of_a_run_anew() -> None:
    assert judge(45, **heard((0, START), (20, START)), max_duration="30s").status is Status.SUCCESS


def test_just_after_a_takeover_a_run_that_looks_too_long_is_not_judged() -> None:
    running = heard((0, SignalType.SUCCESS), (1, START))
    assert judge(40, **running, max_duration="30s", watching_s=NOON_S + 35).status is Status.SKIPPED
    assert judge(46, **running, max_duration="30s", watching_s=NOON_S + 35).status is Status.LATE


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
        ("heartbeat", {}, "$.config"), ("heartbeat", {"period": "soon"}, "$.config.period"),
        ("heartbeat", {"period": "0s"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "grace": -1}, "$.config.grace"),
        ("heartbeat", {"period": "P1M"}, "$.config.period"), ("heartbeat", {"period": "9000d"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "grace": None}, "$.config.grace"), ("noop", {"a": 1}, "$.config.a"),
        ("heartbeat", {"period": "1m", "max_duration": "0s"}, "$.config.max_duration"),
        ("heartbeat", {"period": "1m", "max_duration": "long"}, "$.config.max_duration"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(kind: str, config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named(kind), config)
    assert caught.value.path == path
