"""Running a kind once, for a tick. A kind, perhaps another package's, may fail in any way: that is an outcome, too."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from everwatch.core.errors import InvalidInput
from everwatch.core.printable import printable
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.protocol import ExecutedKind, RunContext, Targeted
from everwatch.model import Outcome, Status, Tick
from everwatch.schedule.duration import DAY_MS, describe_duration

log = logging.getLogger(__name__)

# users must not decide how much memory a host takes
_LONGEST_HOST = 253
# half as long again as the longest timeout: what waits for a place that one run of it holds gets its turn
LONGEST_WAIT_S = 900.0
# what is sent of an outcome at most, characters


@dataclass(frozen=True, slots=True)
class Job:
    """The kind and parsed config of a tick; without a kind, ``refusal`` is the reason."""

    kind: ExecutedKind | None
    config: Any = None
    refusal: str = ""

    @property
    def keeps_time(self) -> bool:
        """Tell whether its kind may have to wait before it begins, and ends in time by itself: see ``Timekeeping``."""
        return bool(getattr(self.kind, "keeps_time", False))


def job_of(tick: Tick, secrets: ConfigSecrets) -> Job:
    """The job of a tick."""
    try:
        kind = registry.kind_named(tick.kind)
        config = registry.parse_config(kind, secrets.decrypted(kind, tick.config))
    except InvalidInput as error:
        return Job(None, refusal=str(error))
    if kind.inline:
        return Job(None, refusal=f"the kind '{tick.kind}' is judged by workers, an executor cannot run it")
    return Job(kind, config)


def target_of(job: Job) -> str:
    """The host that a job goes to, as its kind names it, in lower case; "" if there is none or it is not known."""
    if not hasattr(job.kind, "target"):
        return ""
    try:
        host = cast(Targeted, job.kind).target(job.config)
        return host.lower().rstrip(".")[:_LONGEST_HOST]
    except Exception as error:
        log.debug("the kind '%s' does not tell its target: %s", getattr(job.kind, "name", ""), error)
        return ""


async def run_job(
    job: Job,
    tick: Tick,
    context: RunContext,
    on_error: Callable[[BaseException], None],
    longest_wait_s: float = LONGEST_WAIT_S,
) -> Outcome:
    """Run the job within the tick's timeout. ``on_error`` gets errors that the kind should have handled.

    A kind that keeps time itself (``keeps_time``) begins later than it is asked, and ends within the timeout from then.
    One that does not is cancelled ``longest_wait_s`` after that: it would hold its slot forever.

    Raises CancelledError only if the caller is cancelled.
    """
    if job.kind is None:
        return Outcome(Status.FAILURE, job.refusal)
    deadline = asyncio.timeout(tick.timeout_ms / 1000 + (longest_wait_s if job.keeps_time else 0))
    try:
        async with deadline:
            outcome = await job.kind.run(job.config, tick, context)
        check_outcome(outcome, tick.kind)
        return _told(outcome, tick.kind)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _internal_error(error, on_error)  # the kind's own doing
    except Exception as error:
        if deadline.expired() and isinstance(error, TimeoutError):
            limit = describe_duration(tick.timeout_ms)
            if job.keeps_time:
                waited = describe_duration(round(longest_wait_s * 1000))
                return Outcome(Status.FAILURE, f"no answer within {limit}, after it had {waited} to begin")
            return Outcome(Status.FAILURE, f"no answer within {limit}")
        return _internal_error(error, on_error)


def _told(outcome: Outcome, kind: str) -> Outcome:
    """``outcome`` with texts that change no terminal, as they hold words of others, and with a reason if it failed."""
    reason, detail = printable(outcome.reason), printable(outcome.detail)
    if not reason.strip() and outcome.status in (Status.FAILURE, Status.LATE):
        reason = f"the kind '{kind}' gave no reason"
    if reason is outcome.reason and detail is outcome.detail:
        return outcome
    return Outcome(outcome.status, reason, outcome.timings, detail, outcome.waited_ms)


def check_outcome(outcome: object, kind: str) -> None:
    """Raise TypeError if what a kind gave is no Outcome, or has something else in it than its fields say."""
    if not isinstance(outcome, Outcome):
        raise TypeError(f"the kind '{kind}' gave {type(outcome).__name__} instead of an Outcome")
    for field in ("reason", "detail"):
        if not isinstance(value := getattr(outcome, field), str):
            raise TypeError(f"the kind '{kind}' gave {type(value).__name__} as the {field} of its outcome")
    if not isinstance(outcome.status, Status):
        raise TypeError(f"the kind '{kind}' gave {outcome.status!r} as the status of its outcome")
    # a result's start is worked out from it: what is no length of time, as NaN, must not get that far
    waited_ms: object = outcome.waited_ms
    if not isinstance(waited_ms, int | float) or not 0 <= waited_ms <= DAY_MS:
        raise TypeError(f"the kind '{kind}' gave {waited_ms!r:.50} as the waited_ms of its outcome")


def _internal_error(error: BaseException, on_error: Callable[[BaseException], None]) -> Outcome:
    on_error(error)
    return Outcome(Status.FAILURE, printable(f"internal error: {type(error).__name__}: {error}"))
