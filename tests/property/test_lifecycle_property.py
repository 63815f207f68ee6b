"""Whatever results come back, in whatever order and however often: a monitor goes only where it may."""

from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.encoding import table_records
from everwatch.model import (
    ASLEEP,
    Align,
    At,
    Backoff,
    Cron,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Overlap,
    Policy,
    Result,
    Retries,
    Schedule,
    State,
    Status,
    Transition,
)
from everwatch.rules import lifecycle
from everwatch.schedule.due import NeverDue

MINUTE = 60_000
BEGIN = 1_800_000_000_000
END = BEGIN + 10 * MINUTE
# as close together as ticks, retries and commands are; now and then the very same instant
instants = st.integers(0, 10).map(lambda n: BEGIN + n * MINUTE) | st.integers(BEGIN - MINUTE, END + MINUTE)
schedules: st.SearchStrategy[Schedule] = st.one_of(
    st.sampled_from([Every(MINUTE), Every(MINUTE, Align.EPOCH), Every(3_600_000, Align.MIDNIGHT, "Asia/Kathmandu")]),
    st.sampled_from([Cron("* * * * *"), Cron("*/2 * * * *", "Europe/Berlin", 30_000)]),
    st.builds(At, instants),
)
retries = st.builds(
    Retries,
    st.integers(1, 3),
    st.sampled_from(Backoff),
    st.integers(1_000, 90_000),
    st.just(120_000),
    st.sampled_from([0.0, 0.1, 1.0]),
)
policies = st.builds(
    Policy,
    failures_to_down=st.integers(1, 3),
    successes_to_up=st.integers(1, 3),
    retries=st.just(Retries()) | retries,
    overlap=st.sampled_from(Overlap),
    remind_every_ms=st.sampled_from([0, MINUTE, 3 * MINUTE]),
)
specs = st.builds(
    MonitorSpec,
    monitor_id=st.just("m"),
    kind=st.sampled_from(["http", "tcp"]),
    config=st.just("{}"),
    schedule=schedules,
    policy=policies | st.just(Policy()),
    start_at=st.just(0) | instants,
    end_at=st.just(0) | instants,
    max_runs=st.just(0) | st.integers(1, 5),
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    scheduled_at, status = draw(instants), draw(st.sampled_from(Status))
    skipped = draw(st.integers(1, 3)) if status is Status.SKIPPED else 0
    return Result(
        user_id="u",
        monitor_id="m",
        scheduled_at=scheduled_at,
        kind="http",
        version=draw(st.sampled_from([1, 1, 1, 2, 3])),
        status=status,
        reason=draw(st.sampled_from(["", "why"])),
        started_at=scheduled_at + draw(st.integers(0, 3 * MINUTE)),
        duration_ms=draw(st.floats(0, 30_000)),
        attempt=draw(st.sampled_from([1, 1, 2, 3, 4, 9])),
        skipped_until=scheduled_at + (skipped - 1) * MINUTE if skipped else 0,
        skipped_count=skipped,
        manual=draw(st.sampled_from([False, False, True])),
    )


@st.composite
def put_monitors(draw: st.DrawFn) -> Monitor:
    """A monitor as it is after its first put."""
    spec, origin, now = draw(specs), draw(st.sampled_from(Origin)), draw(instants)
    try:
        return lifecycle.first_put("u", spec, origin, now, now)
    except NeverDue:
        unbounded = msgspec.structs.replace(spec, start_at=0, end_at=0, max_runs=0)
        return lifecycle.first_put("u", unbounded, origin, now, now)


@dataclass
class Life:
    """A monitor, and what is told of it, as a worker brings it from one value to the next."""

    monitor: Monitor
    told: list[Transition] = field(default_factory=list)

    def become(self, after: Monitor, told: Transition | None = None, muted_until: int = 0) -> None:
        before = self.monitor
        transition = lifecycle.transition_between(before, after)  # asserts that it is legal
        if transition is not None:
            assert transition.to_state in lifecycle.LEGAL[transition.from_state]
            after = lifecycle.with_reminder(before, after, muted_until)
            after = lifecycle.forgotten_at(after, transition.at + MINUTE)
        self.told += [each for each in (transition, told) if each is not None]
        self.monitor = after
        self.check()

    def judge(self, result: Result, earliest: int, muted_until: int = 0) -> None:
        """A result that comes twice, the second time while sweeps are further on."""
        value = table_records.encode_monitor(self.monitor)
        after = lifecycle.after_result(self.monitor, result, earliest)
        assert lifecycle.after_result(after, result, earliest) is after
        assert lifecycle.after_result(after, result, earliest + MINUTE) is after
        if table_records.stays_as_it_is(value, result.status):
            assert after is self.monitor
        self.become(after, muted_until=muted_until)

    def check(self) -> None:
        monitor, agenda = self.monitor, self.monitor.agenda
        retry = agenda.retry_at, agenda.retry_of, agenda.retry_attempt
        assert (all(retry) and agenda.retry_of < agenda.retry_at) or not any(retry)
        assert agenda.retry_attempt <= monitor.spec.policy.retries.most + 1
        assert not (any(retry) and monitor.state in ASLEEP)
        assert not agenda.resume_at or monitor.state is State.PAUSED
        assert not agenda.remind_at or monitor.state in lifecycle.ALARMING
        is_task = isinstance(monitor.spec.schedule, At)
        assert not agenda.forget_at or (is_task and monitor.state is State.DONE)
        assert is_task or 0 <= agenda.runs < (monitor.spec.max_runs or 1)
        # what the table holds is all there is
        assert table_records.decode_monitor("u", "m", table_records.encode_monitor(monitor)) == monitor


@settings(max_examples=400, deadline=None)
@given(put_monitors(), st.lists(st.tuples(results(), instants), max_size=12))
def test_results_in_any_order_and_repeated_lead_only_where_a_monitor_may_go(
    monitor: Monitor, some: list[tuple[Result, int]]
) -> None:
    life = Life(monitor)
    for result, earliest in some:
        life.judge(result, earliest)


steps = st.one_of(
    st.tuples(st.just("result"), results(), instants),
    st.tuples(st.just("pause"), instants, st.just(0) | instants),
    st.tuples(st.just("resume"), instants, st.none()),
    st.tuples(st.just("put"), instants, specs),
    st.tuples(st.just("wake"), instants, instants),
    st.tuples(st.just("signal"), instants, st.none()),
)


@settings(max_examples=400, deadline=None)
@given(put_monitors(), st.lists(steps, max_size=15), st.sampled_from([0, END + MINUTE]))
def test_so_do_results_among_commands_and_what_time_brings(
    monitor: Monitor, some: list[tuple[str, object, object]], muted_until: int
) -> None:
    life = Life(monitor)
    for step in some:
        before = life.monitor
        match step:
            case "result", Result() as result, int(earliest):
                life.judge(result, earliest, muted_until)
            case "pause", int(at), int(until):
                life.become(lifecycle.pause(before, at, until))
                assert lifecycle.pause(life.monitor, at, until) is life.monitor
            case "resume", int(at), _:
                life.become(lifecycle.resume(before, at))
                assert lifecycle.resume(life.monitor, at) is life.monitor
            case "put", int(at), MonitorSpec() as spec:
                try:
                    after = lifecycle.put_again(before, spec, Origin.COMMAND, at)
                except NeverDue:
                    continue
                life.become(after)
                assert lifecycle.put_again(life.monitor, spec, Origin.COMMAND, at) is life.monitor
            case "wake", int(now), int(settled):
                life.become(*lifecycle.after_agenda(before, now, min(now, settled)))
                agenda = life.monitor.agenda
                assert not 0 < agenda.resume_at <= now
                assert not 0 < agenda.remind_at <= now
            case "signal", int(at), _:
                life.become(lifecycle.after_signals(before, at, before.signals))
        assert life.monitor.since >= before.since or life.monitor.version > before.version


@settings(max_examples=300, deadline=None)
@given(put_monitors(), st.lists(results(), max_size=10))
def test_an_attempt_that_counted_is_known_however_often_it_comes_back(monitor: Monitor, some: list[Result]) -> None:
    """Each attempt has one result: after a restart those that changed something come back, the oldest first."""
    life = Life(monitor)
    counted: list[Result] = []
    for result in {(r.scheduled_at, r.attempt): r for r in some}.values():
        before = life.monitor
        life.judge(result, 0)
        if life.monitor is not before:
            counted.append(result)
        known, told = life.monitor, len(life.told)
        for again in counted:
            life.judge(again, 0)
        assert life.monitor is known
        assert len(life.told) == told
