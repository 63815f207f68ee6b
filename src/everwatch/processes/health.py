"""Health of one process: whether it is alive and whether it is ready, with the reasons.

*Alive* means that the event loop turns, and nothing else: neither an unavailable broker nor a long recovery may make an
orchestrator restart processes. *Ready* means that the process does its work now.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import StrEnum
from typing import NamedTuple

from everwatch.core.clock import Clock

logger = logging.getLogger(__name__)

LOOP_STUCK_S = 10.0
"""A process whose event loop has not turned for this long is not alive."""

Check = Callable[[], str]
"""Return why a part is not ready, in a few words; empty if it is ready. Called on the event loop; must be cheap."""


class ProcessPhase(StrEnum):
    """Phase of a process."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Report(NamedTuple):
    """An answer to a probe: ``ok`` chooses the HTTP status, ``body`` is sent as JSON."""

    ok: bool
    body: Mapping[str, object]


class Health:
    """Liveness and readiness of a process. ``alive`` and ``ready`` are for any thread, the rest for the loop."""

    def __init__(self, process: str, instance: str, version: str, clock: Clock) -> None:
        self.answer_within_s = 2.0
        """How long a probe waits for the event loop."""
        self.phase = ProcessPhase.STARTING
        self._identity = {"process": process, "instance": instance, "version": version}
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turned_s = clock.monotonic_s()

    def expect(self, part: str, check: Check) -> None:
        """Make the process ready only while ``check`` returns an empty string; ``part`` names it in answers."""
        self._checks[part] = check

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that the event loop turns."""
        self._loop = loop
        self._turned_s = self._clock.monotonic_s()

    def end(self) -> None:
        """Note that there is no event loop any more."""
        self._loop = None

    def alive(self) -> Report:
        """Report whether the event loop turns. Always true before there is one."""
        stuck_s = self._stuck_s()
        reasons = {"event loop": _not_turned(stuck_s)} if stuck_s > LOOP_STUCK_S else {}
        return self._report("alive", reasons)

    def ready(self) -> Report:
        """Report whether the process has started, is not stopping, and every part is ready."""
        if self.phase is not ProcessPhase.RUNNING or self._loop is None:
            return self._report("ready", {"process": str(self.phase)})
        answer: Future[dict[str, str]] = Future()
        self._loop.call_soon_threadsafe(self._ask_all, answer)
        try:
            return self._report("ready", answer.result(self.answer_within_s))
        except TimeoutError:
            return self._report("ready", {"event loop": _not_turned(self._stuck_s())})

    def not_ready(self) -> dict[str, str]:
        """Return the reason of each part that is not ready. On the event loop only."""
        reasons = {}
        for part, check in self._checks.items():
            try:
                reason = check()
            except Exception as error:
                logger.exception("the readiness check of %s failed", part)
                reason = f"its check failed: {error!r}"
            if reason:
                reasons[part] = reason
        return reasons

    def _ask_all(self, answer: "Future[dict[str, str]]") -> None:
        answer.set_result(self.not_ready())

    def _stuck_s(self) -> float:
        return 0.0 if self._loop is None else self._clock.monotonic_s() - self._turned_s

    def _report(self, quality: str, reasons: Mapping[str, str]) -> Report:
        return Report(
            not reasons,
            {
                "status": quality if not reasons else f"not {quality}",
                "phase": str(self.phase),
                **self._identity,
                "reasons": [{"part": part, "reason": reason} for part, reason in reasons.items()],
            },
        )


def _not_turned(seconds: float) -> str:
    return f"has not turned for {seconds:.1f} s"
