"""Runs of a job that signals name by an id: the newest few. Pure."""

from everwatch.model import JobRun, Signal, SignalType

MOST_OPEN = 20
"""How many runs of one heartbeat may be under way and are still known apart; of more, the oldest is forgotten."""
MOST_ENDED = 5
"""Of how many runs that ended it is remembered that they did, so that a start which comes late opens none again."""

Runs = tuple[JobRun, ...]


def is_open(run: JobRun) -> bool:
    """Tell whether a run has begun and not ended; a start at the same millisecond as its end belongs to that end."""
    return run.started_at > run.ended_at


def with_run(runs: Runs, signal: Signal) -> tuple[Runs, JobRun]:
    """The runs after a signal with an id, in whichever order signals come; and the run that it is about."""
    known = next((run for run in runs if run.run == signal.run), JobRun(signal.run))
    if signal.type is SignalType.START:
        after = JobRun(known.run, max(known.started_at, signal.at), known.ended_at)
    else:
        after = JobRun(known.run, known.started_at, max(known.ended_at, signal.at))
    if after == known:
        return runs, known
    others = [run for run in runs if run.run != signal.run]
    return _bounded([*others, after]), after


def ended_at(runs: Runs, instant: int) -> str:
    """The id of the run that ended at ``instant``; empty if none did."""
    return next((run.run for run in runs if instant and run.ended_at == instant), "")


def _bounded(runs: list[JobRun]) -> Runs:
    runs.sort(key=lambda run: (run.started_at, run.run))
    open_ones = [run for run in runs if is_open(run)][-MOST_OPEN:]
    over = sorted((run for run in runs if not is_open(run)), key=lambda run: (run.ended_at, run.run))[-MOST_ENDED:]
    return (*over, *open_ones)
