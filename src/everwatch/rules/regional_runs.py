"""Runs of a monitor in several regions: what each region found, and the verdict of a quorum. Pure.

Each tick of such a monitor goes to the executors of each of its regions, so one run has as many results as regions have
answered. They are one verdict: a failure if the quorum of the regions that answered found one, else a success. It is
reached as soon as the regions that are still silent cannot change it, at the latest after the timeout and the misfire
grace of the monitor; a region that is silent by then does not count, whatever it would have said.

A run whose outcomes would leave the monitor as it is waits in memory alone (``RegionalAnswers``). One that may change
it stands on the agenda in the monitor's entry, so it is decided whatever happens to the worker.
"""

from typing import NamedTuple

from msgspec.structs import replace

from everwatch.model import (
    NOTHING,
    Agenda,
    At,
    Monitor,
    Quorum,
    RegionalRun,
    RegionOutcome,
    Result,
    State,
    Status,
)

MOST_RUNS = 16
"""Runs of one monitor that wait for answers; a region that is further behind counts as silent."""
ON_THE_WAY_MS = 2_000
"""Time that a result may take from its executor to the worker."""
_LONGEST_REASON = 200
_LONGEST_SAID = 900
_SETTLED = {State.UP: Status.SUCCESS, State.DOWN: Status.FAILURE}
Attempt = tuple[int, int]
"""The instant of a tick, and the number of the attempt at it."""


class RegionalAnswers:
    """Answers to runs of one monitor that are not on its agenda, and the newest run that is decided."""

    __slots__ = ("decided", "runs")

    def __init__(self) -> None:
        self.decided: Attempt = (0, 0)
        self.runs: dict[Attempt, RegionalRun] = {}


class RegionalVerdict(NamedTuple):
    """A monitor after a result of a region, and the verdicts that it led to, in the order of their ticks."""

    monitor: Monitor
    verdicts: tuple[Result, ...] = ()


def after_region(monitor: Monitor, result: Result, answers: RegionalAnswers, opened_at: int) -> RegionalVerdict:
    """Return the monitor and the verdicts after one region's ``result``; ``answers`` takes part of it.

    ``opened_at``: since when this worker sees all results of the partition; of runs before that some may be unknown.
    """
    if not result.region:
        # a tick that was sent to no region, and is reported as skipped
        return RegionalVerdict(monitor, (result,) if result.status is Status.SKIPPED else ())
    attempt = result.scheduled_at, result.attempt
    if result.region not in monitor.spec.policy.regions or _is_old(monitor, result) or attempt <= answers.decided:
        return RegionalVerdict(monitor)
    pending = {(run.scheduled_at, run.attempt): run for run in monitor.agenda.runs_in_regions}
    run = pending.get(attempt) or answers.runs.get(attempt) or _new_run(monitor, result, opened_at)
    if any(outcome.region == result.region for outcome in run.outcomes):
        return RegionalVerdict(monitor)  # delivered again
    run = _with(run, result)
    status = decided(run, monitor.spec.policy.regions, monitor.spec.policy.quorum)
    if status is not None:
        _forget(answers, attempt)
        return RegionalVerdict(_without_runs(monitor, attempt), (_verdict(monitor, run, status),))
    if attempt not in pending and _leaves_as_it_is(monitor, run):
        answers.runs[attempt] = run
        while len(answers.runs) > MOST_RUNS:
            del answers.runs[min(answers.runs)]
        return RegionalVerdict(monitor)
    answers.runs.pop(attempt, None)
    pending[attempt] = run
    after = _with_runs(monitor, [pending[each] for each in sorted(pending)])
    if len(pending) <= MOST_RUNS:
        return RegionalVerdict(after)
    return _decide(after, answers, after.agenda.runs_in_regions[0])


def after_waiting(monitor: Monitor, answers: RegionalAnswers, now: int) -> RegionalVerdict:
    """Return the monitor and the verdicts of those of its runs that have waited for long enough."""
    verdicts: list[Result] = []
    for run in monitor.agenda.runs_in_regions:
        if run.decide_at <= now:
            monitor, more = _decide(monitor, answers, run)
            verdicts += more
    return RegionalVerdict(monitor, tuple(verdicts))


def decided(run: RegionalRun, regions: tuple[str, ...], quorum: Quorum, *, is_over: bool = False) -> Status | None:
    """Return the verdict of a run; None if the regions that are still silent may change it.

    ``is_over``: no further answer counts. A region that skipped the run has answered, and counts no more than a silent
    one. A run that all of them skipped is skipped.
    """
    failed = sum(outcome.status is Status.FAILURE for outcome in run.outcomes)
    succeeded = sum(outcome.status is Status.SUCCESS for outcome in run.outcomes)
    silent = 0 if is_over else len(regions) - len(run.outcomes)
    if not silent:
        if not failed + succeeded:
            return Status.SKIPPED if run.outcomes else None
        return Status.FAILURE if fails(failed, succeeded, quorum) else Status.SUCCESS
    # the silent ones may all fail, all succeed, or stay silent
    if failed and fails(failed, succeeded + silent, quorum):
        return Status.FAILURE
    if succeeded and not fails(failed + silent, succeeded, quorum):
        return Status.SUCCESS
    return None


def fails(failed: int, succeeded: int, quorum: Quorum) -> bool:
    """Tell whether a run fails, given the numbers of regions in which it failed and succeeded."""
    match quorum:
        case Quorum.ANY:
            return failed > 0
        case Quorum.ALL:
            return failed > 0 and not succeeded
        case _:
            return failed > succeeded


def _is_old(monitor: Monitor, result: Result) -> bool:
    """Tell whether a result says nothing of the state, as ``lifecycle.after_result`` has it."""
    last = max(result.scheduled_at, result.skipped_until)
    if result.version != monitor.version or last <= max(monitor.judged_at, monitor.since):
        return True
    agenda = monitor.agenda
    if last < agenda.retry_of or (agenda.retry_of == result.scheduled_at and result.attempt < agenda.retry_attempt):
        return True
    is_task = isinstance(monitor.spec.schedule, At)
    return monitor.state is State.DONE or (monitor.state is State.PAUSED and not is_task)


def _new_run(monitor: Monitor, result: Result, opened_at: int) -> RegionalRun:
    due = max(result.scheduled_at, result.started_at if result.attempt > 1 or result.manual else 0)
    # a region may begin as late as its grace allows
    policy = monitor.spec.policy
    decide_at = due + policy.misfire_grace_ms + policy.timeout_ms + ON_THE_WAY_MS
    return RegionalRun(
        result.scheduled_at, result.attempt, decide_at, result.scheduled_at > opened_at, (), manual=result.manual
    )


def _with(run: RegionalRun, result: Result) -> RegionalRun:
    outcome = RegionOutcome(
        result.region, result.status, result.reason[:_LONGEST_REASON], result.executor, result.unreached
    )
    started_at = min(run.started_at, result.started_at) if run.outcomes else result.started_at
    ended_at = max(run.started_at + run.duration_ms, result.started_at + result.duration_ms)
    return replace(
        run, outcomes=(*run.outcomes, outcome), started_at=started_at, duration_ms=max(0.0, ended_at - started_at)
    )


def _leaves_as_it_is(monitor: Monitor, run: RegionalRun) -> bool:
    """Tell whether the outcomes so far are what the monitor's state says, so that none of them need be stored."""
    settled = _SETTLED.get(monitor.state)
    is_plain = not monitor.streak and not monitor.agenda.retry_at and not monitor.agenda.ends_at
    return is_plain and settled is not None and all(each.status in (settled, Status.SKIPPED) for each in run.outcomes)


def _decide(monitor: Monitor, answers: RegionalAnswers, run: RegionalRun) -> RegionalVerdict:
    """Decide a run by the regions that have answered; one of which answers may be unknown is given up."""
    attempt = run.scheduled_at, run.attempt
    policy = monitor.spec.policy
    status = decided(run, policy.regions, policy.quorum, is_over=run.is_complete)
    _forget(answers, attempt)
    after = _without_runs(monitor, attempt)
    return RegionalVerdict(after, () if status is None else (_verdict(monitor, run, status),))


def _forget(answers: RegionalAnswers, attempt: Attempt) -> None:
    """Note that a run is decided, and earlier ones with it."""
    answers.decided = max(answers.decided, attempt)
    if answers.runs:
        answers.runs = {each: run for each, run in answers.runs.items() if each > attempt}


def _without_runs(monitor: Monitor, upto: Attempt) -> Monitor:
    runs = monitor.agenda.runs_in_regions
    if not runs:
        return monitor
    return _with_runs(monitor, [run for run in runs if (run.scheduled_at, run.attempt) > upto])


def _with_runs(monitor: Monitor, runs: list[RegionalRun]) -> Monitor:
    agenda: Agenda = replace(monitor.agenda, runs_in_regions=tuple(runs))
    return replace(monitor, agenda=agenda if agenda != NOTHING else NOTHING)


def _verdict(monitor: Monitor, run: RegionalRun, status: Status) -> Result:
    """Return the result that stands for all regions'."""
    policy = monitor.spec.policy
    witness = _witness(run, policy.quorum) if status is Status.FAILURE else None
    return Result(
        user_id=monitor.user_id,
        monitor_id=monitor.monitor_id,
        scheduled_at=run.scheduled_at,
        kind=monitor.spec.kind,
        version=monitor.version,
        status=status,
        reason=_said(run, status, policy.regions)[:_LONGEST_SAID],
        started_at=run.started_at,
        duration_ms=run.duration_ms,
        attempt=run.attempt,
        manual=run.manual,
        executor=witness.executor if witness else run.outcomes[-1].executor,
        unreached=witness.unreached if witness else 0,
        region=witness.region if witness else run.outcomes[-1].region,
    )


def _witness(run: RegionalRun, quorum: Quorum) -> RegionOutcome:
    """Return the failure on which the verdict rests: without it and those that are more doubtful it would be none.

    Doubtful is an executor that reaches few of its targets. A region that is cut off decides nothing while enough
    others fail too.
    """
    failures = sorted((each for each in run.outcomes if each.status is Status.FAILURE), key=lambda each: each.unreached)
    succeeded = sum(each.status is Status.SUCCESS for each in run.outcomes)
    for count, outcome in enumerate(failures, 1):
        if fails(count, succeeded, quorum):
            return outcome
    return failures[-1]


def _said(run: RegionalRun, status: Status, regions: tuple[str, ...]) -> str:
    """Return the reason of a verdict: that of the regions that decided it, then what others found."""
    by_reason: dict[str, list[str]] = {}
    others: dict[Status, list[str]] = {}
    for outcome in run.outcomes:
        if outcome.status is status:
            by_reason.setdefault(outcome.reason, []).append(outcome.region)
        else:
            others.setdefault(outcome.status, []).append(outcome.region)
    answered = {outcome.region for outcome in run.outcomes}
    silent = [region for region in regions if region not in answered]
    notes = [f"in {', '.join(sorted(found))}" for found in by_reason.values()]
    more = [f"{_WORDS[found]} {', '.join(sorted(names))}" for found, names in sorted(others.items())]
    if silent:
        more.append(f"no answer from {', '.join(silent)}")
    if len(by_reason) == 1:
        [reason] = by_reason
        if not reason:
            return "; ".join([f"{_WORDS[status]} {notes[0].removeprefix('in ')}", *more])
        return f"{reason} ({'; '.join([*notes, *more])})".strip()
    said = "; ".join(f"{reason} ({note})".strip() for reason, note in zip(by_reason, notes, strict=True))
    return f"{said}; {'; '.join(more)}" if more else said


_WORDS = {
    Status.SUCCESS: "up in",
    Status.FAILURE: "fails in",
    Status.LATE: "late in",
    Status.SKIPPED: "skipped in",
}
