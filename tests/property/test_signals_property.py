"""State of a monitor after its signals: the same, in whichever order and batches they come."""

from datetime import datetime
from itertools import groupby

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from everwatch.kinds.heartbeat import HeartbeatConfig, HeartbeatKind
from everwatch.kinds.protocol import InlineView
from everwatch.kinds.shared import expected_times as expected
from everwatch.kinds.shared import job_runs
from everwatch.kinds.shared.expected_times import Within, after_window_time, expected_times
from everwatch.kinds.threshold import ThresholdConfig, ThresholdKind
from everwatch.model import NO_SIGNALS, Cron, Outcome, Signal, SignalState, SignalType, Status
from everwatch.schedule.cron import CronTimes, zone_named

AT = 1_800_000_000_000
HEARTBEAT, THRESHOLD = HeartbeatKind(), ThresholdKind()
JOB = HeartbeatConfig("1m", "5s", "20s")
Known = tuple[int, SignalState]

# few instants, so that signals meet
instants = st.integers(AT + 1, AT + 40)
starts = st.builds(Signal, st.just("u"), st.just("m"), instants, st.just(SignalType.START))
durations = st.none() | st.sampled_from([5.0, 7.5])
successes = st.builds(Signal, st.just("u"), st.just("m"), instants, st.just(SignalType.SUCCESS), st.none(), durations)
fails = st.builds(Signal, st.just("u"), st.just("m"), instants, st.just(SignalType.FAIL), st.just(3), durations)
jobs = st.lists(starts | successes | fails, max_size=12)
values = st.builds(
    lambda at, value: Signal("u", "m", AT + at * 1_000, value=value),
    st.integers(1, 400),
    st.sampled_from([80.0, 90.0, 95.0, 100.0, 101.0, 130.0]),
)
metrics = st.lists(values, max_size=20, unique_by=lambda signal: signal.at)
configs = st.builds(
    ThresholdConfig,
    above=st.just(100.0),
    clear=st.none() | st.just(90.0),
    for_=st.sampled_from(["0s", "10s", "2m"]),
    missing=st.sampled_from(["skip", "ok", "failure"]),
    missing_after=st.sampled_from(["5s", "1m", "10m"]),
)


def of_job(signals: list[Signal], known: Known = (0, NO_SIGNALS)) -> Known:
    for signal in signals:
        known = HEARTBEAT.take(JOB, *known, signal)
    return known


def of_metric(config: ThresholdConfig, signals: list[Signal], known: Known = (0, NO_SIGNALS)) -> Known:
    for signal in signals:
        known = THRESHOLD.take(config, *known, signal)
    return known


def but_for_durations(known: Known) -> Known:
    last_signal, state = known
    return last_signal, SignalState(state.started_at, state.failed_at, state.exit_code)


@given(jobs, st.randoms(use_true_random=False))
def test_what_a_job_said_is_the_same_in_any_order(signals: list[Signal], dice: object) -> None:
    shuffled = list(signals)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert but_for_durations(of_job(shuffled)) == but_for_durations(of_job(signals))


@given(jobs)
def test_what_a_job_said_is_the_newest_of_each(signals: list[Signal]) -> None:
    newest = {kind: max((s.at for s in signals if s.type is kind), default=0) for kind in SignalType}
    success, fail, start = newest[SignalType.SUCCESS], newest[SignalType.FAIL], newest[SignalType.START]
    last_signal, known = of_job(signals)
    assert last_signal == success
    assert known.failed_at == (fail if fail >= success else 0)
    assert known.started_at == (start if start > max(success, fail) else 0)
    assert known.exit_code == (3 if known.failed_at else None)


@given(jobs, st.integers(0, 12))
def test_signals_that_come_again_change_nothing_of_it(signals: list[Signal], begin: int) -> None:
    known = of_job(signals)
    assert but_for_durations(of_job(signals[begin:], known)) == but_for_durations(known)


@given(jobs)
def test_a_duration_is_the_one_given_or_measured_within_one_run(signals: list[Signal]) -> None:
    """Of a job that tells everything in order, one thing at a time."""
    told = [next(same) for _, same in groupby(sorted(signals, key=lambda s: s.at), key=lambda s: s.at)]
    _, known = of_job(told)
    ends = [signal for signal in told if signal.type is not SignalType.START]
    if not ends:
        assert known.duration_ms is None
        return
    end = ends[-1]
    begun = ends[-2].at if len(ends) > 1 else 0
    own = [signal.at for signal in told if signal.type is SignalType.START and begun < signal.at < end.at]
    measured = float(end.at - own[-1]) if own else None
    assert known.duration_ms == (measured if end.duration_ms is None else end.duration_ms)


@given(jobs, st.integers(0, 100_000))
def test_a_job_is_judged_by_rules_that_can_be_said_in_a_sentence(signals: list[Signal], after_ms: int) -> None:
    last_signal, known = of_job(signals)
    at = AT + after_ms
    outcome = HEARTBEAT.judge(JOB, InlineView(AT, 0, last_signal, known), at)
    if known.failed_at or (known.started_at and at > known.started_at + 20_000):
        meant = Status.FAILURE
    elif at > (last_signal or AT) + 65_000:
        meant = Status.LATE
    else:
        meant = Status.SUCCESS
    assert outcome.status is meant


# --- runs that are told apart by an id --------------------------------------------------------------------------------

TIMED = HeartbeatConfig("1m", "5s", "20s", "3s")


@st.composite
def runs_of_a_job(draw: st.DrawFn) -> list[Signal]:
    """At most four runs, each begun and ended once or not at all, at instants that no two of them share."""
    instants = iter(draw(st.lists(st.integers(1, 90), min_size=8, max_size=8, unique=True)))
    signals: list[Signal] = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        first, second = sorted((next(instants), next(instants)))
        end = draw(st.sampled_from([None, SignalType.SUCCESS, SignalType.FAIL]))
        if end is None or draw(st.booleans()):
            signals.append(Signal("u", name, AT + first * 1_000, SignalType.START, run=name))
        if end is not None:
            signals.append(Signal("u", name, AT + second * 1_000, end, run=name))
    return signals


def naive(signals: list[Signal], at: int) -> Status:
    """The verdict of somebody who keeps every signal, and looks at each run by itself."""
    ends = {signal.run: signal for signal in signals if signal.type is not SignalType.START}
    starts = {signal.run: signal.at for signal in signals if signal.type is SignalType.START}
    newest = max(ends.values(), key=lambda signal: signal.at, default=None)
    success = max((end.at for end in ends.values() if end.type is SignalType.SUCCESS), default=0)
    if newest is not None:
        if newest.type is SignalType.FAIL:
            return Status.FAILURE
        if newest.run in starts and not 3_000 <= newest.at - starts[newest.run] <= 20_000:
            return Status.FAILURE
    for run, began in starts.items():
        if run not in ends and success <= began + 20_000 < at:
            return Status.FAILURE
    return Status.LATE if at > (success or AT) + 65_000 else Status.SUCCESS


@given(runs_of_a_job(), st.randoms(use_true_random=False), st.integers(0, 180_000))
def test_runs_in_any_order_are_judged_as_by_somebody_who_keeps_every_signal(
    signals: list[Signal], dice: object, after_ms: int
) -> None:
    shuffled = list(signals)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    at = AT + after_ms
    meant = naive(signals, at)
    in_order = of_job(sorted(signals, key=lambda signal: signal.at))
    for known in (of_job(shuffled), of_job([*shuffled, *signals]), in_order):
        assert known == in_order
        assert HEARTBEAT.judge(TIMED, InlineView(AT, 0, *known), at).status is meant


named = st.builds(
    Signal,
    st.just("u"),
    st.just("m"),
    instants,
    st.sampled_from(SignalType),
    run=st.sampled_from(["", *"abcdefgh"]) | st.text(min_size=64, max_size=64),
)


@given(st.lists(named, max_size=60))
def test_whatever_a_job_says_of_its_runs_few_are_kept(signals: list[Signal]) -> None:
    known = of_job(signals)[1]
    assert sum(map(job_runs.is_open, known.runs)) <= job_runs.MOST_OPEN
    assert len(known.runs) <= job_runs.MOST_OPEN + job_runs.MOST_ENDED
    assert len({run.run for run in known.runs}) == len(known.runs)


# --- when a heartbeat is expected -------------------------------------------------------------------------------------

windows = st.builds(
    Within,
    days=st.sampled_from(["MON-SUN", "MON-FRI", "SAT,SUN", "WED", "FRI-MON"]),
    from_=st.sampled_from(["00:00", "02:30", "08:00", "22:00"]),
    to=st.sampled_from(["24:00", "03:00", "06:00", "18:15"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
)
# a week before and after the clock changes in Berlin, in minutes from 2026-10-18T00:00Z
minutes = st.integers(0, 14 * 1_440)
AUTUMN = 1_792_281_600_000


def is_open(within: Within, instant: int) -> bool:
    """Tell whether a window is open, by what the clock shows."""
    clock = datetime.fromtimestamp(instant / 1000, zone_named(within.timezone))
    shown = f"{clock:%H:%M}"
    days = expected.days_of(within.days)
    if within.from_ < within.to:
        return clock.weekday() in days and within.from_ <= shown < within.to
    return (clock.weekday() in days and shown >= within.from_) or (
        (clock.weekday() - 1) % 7 in days and shown < within.to
    )


@settings(max_examples=60)
@given(windows, minutes, st.integers(1, 3_000))
def test_window_time_is_what_somebody_counts_who_looks_at_the_clock_every_minute(
    within: Within, since: int, length: int
) -> None:
    # an hour that comes twice in a window's first or last hour would be counted by what it shows, not once
    assume(within.timezone == "UTC" or (within.from_, within.to) == ("08:00", "18:15"))
    instant, left = AUTUMN + since * 60_000, length
    while left or not is_open(within, instant):
        left -= is_open(within, instant)
        instant += 60_000
    assert after_window_time(within, AUTUMN + since * 60_000, length * 60_000) == instant


@settings(max_examples=100)
@given(
    st.sampled_from(["*/7 * * * *", "0 3 * * MON-FRI", "30 2 * * *", "0 0 1 * *"]),
    st.sampled_from(["UTC", "Europe/Berlin"]),
    st.sampled_from([0, 10_000, 3_600_000]),
    st.lists(st.tuples(minutes, st.integers(-200, 0)), min_size=1, max_size=6),
)
def test_a_time_is_missed_if_nothing_came_from_shortly_before_it_until_its_grace_was_over(
    expression: str, timezone: str, grace_ms: int, looks: list[tuple[int, int]]
) -> None:
    times = CronTimes(Cron(expression, timezone))
    for minute, ago in looks:
        at = AUTUMN + minute * 60_000 + 123
        heard = at + ago * 60_000
        due = times.between(at - 40 * 86_400_000, at - grace_ms)
        last, before = (due[-1], due[-2]) if len(due) > 1 else (0, 0)
        early_ms = min(grace_ms, 60_000, (last - before) // 2)
        meant = last if last and heard < last - early_ms else 0
        if len(due) > 1:
            assert expected_times(expression, timezone, grace_ms).missed(heard, at) == meant


@given(configs, metrics, st.data())
def test_values_in_any_batches_and_any_order_within_one_are_the_same_but_for_those_that_are_too_old(
    config: ThresholdConfig, signals: list[Signal], data: st.DataObject
) -> None:
    """As the worker takes them: each batch in the order in which things happened."""
    rest, known, newest, in_time = list(signals), (0, NO_SIGNALS), 0, []
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        batch, rest = sorted(rest[:size], key=lambda signal: signal.at), rest[size:]
        in_time += [signal for signal in batch if signal.at > newest]
        known = of_metric(config, batch, known)
        newest = max(newest, batch[-1].at)
    assert known == of_metric(config, sorted(in_time, key=lambda signal: signal.at))


@given(configs, metrics, st.integers(0, 20))
def test_values_that_come_again_change_nothing(config: ThresholdConfig, signals: list[Signal], begin: int) -> None:
    told = sorted(signals, key=lambda signal: signal.at)
    known = of_metric(config, told)
    assert of_metric(config, told[begin:], known) == known


def looked(config: ThresholdConfig, signals: list[Signal], at: int) -> Outcome:
    known = of_metric(config, [signal for signal in signals if signal.at <= at])
    return THRESHOLD.judge(config, InlineView(AT, 0, *known), at)


@given(configs, metrics)
def test_a_metric_is_judged_as_by_somebody_who_looks_every_second(
    config: ThresholdConfig, signals: list[Signal]
) -> None:
    """The naive model: it holds its breath second by second; a value counts until it is missing."""
    at_of = {signal.at: signal.value for signal in signals}
    value, heard, since, failing = None, 0, None, False
    told = sorted(signals, key=lambda signal: signal.at)
    for at in range(AT + 1_000, AT + 500_000, 1_000):
        if at in at_of:
            if since is not None and not failing and at > heard + config.missing_after_ms:
                since = None
            value, heard = at_of[at], at
            assert value is not None
            if config.is_beyond(value):
                since = at if since is None else since
            elif not failing or config.is_clear(value):
                since, failing = None, False
        missing = value is None or at > heard + config.missing_after_ms
        if since is not None and not missing and at - since >= config.for_ms:
            failing = True
        status = looked(config, told, at).status
        if missing:
            rule = {"skip": Status.SKIPPED, "ok": Status.SUCCESS, "failure": Status.FAILURE}[config.missing]
            grace = value is None and at <= AT + config.missing_after_ms
            assert status is (Status.SKIPPED if grace else rule)
        else:
            assert status is (Status.FAILURE if failing else Status.SUCCESS)


@pytest.mark.parametrize("signal_type", SignalType)
def test_each_signal_of_a_job_is_taken_from_nothing(signal_type: SignalType) -> None:
    assert of_job([Signal("u", "m", AT, signal_type)]) != (0, NO_SIGNALS)
