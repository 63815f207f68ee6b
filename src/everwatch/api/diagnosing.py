"""Diagnosis of the system: the checks of ``everwatch doctor``, run in the background."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import DiagnosisView, FindingView
from everwatch.core.clock import Clock
from everwatch.diagnosis import Finding

logger = logging.getLogger(__name__)
LOOK_AGAIN_S = 15.0
WAIT_S = 2.0


class Diagnosing:
    """Handler of ``/v1/diagnosis``. ``diagnose`` asks the broker for seconds, and is called in a thread.

    One run serves all requests; a request after more than a quarter of a minute begins the next one.
    """

    def __init__(self, diagnose: Callable[[], Sequence[Finding]], clock: Clock, wait_s: float = WAIT_S) -> None:
        """``wait_s``: for how long an answer waits for the diagnosis that it begins."""
        self._wait_s = wait_s
        self._diagnose = diagnose
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._view = DiagnosisView(0, True, [])
        self._ended_s = -LOOK_AGAIN_S

    async def diagnosis(self, _: Call) -> Answer:
        is_old = self._clock.monotonic_s() - self._ended_s >= LOOK_AGAIN_S
        if self._task is None and is_old:
            self._task = asyncio.create_task(self._run(), name="diagnosis")
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._wait_s)
        view = self._view
        is_running = self._task is not None
        return Answer(DiagnosisView(view.at, is_running, view.findings), headers={"Cache-Control": "no-store"})

    async def _run(self) -> None:
        try:
            found = await asyncio.to_thread(self._diagnose)
            self._view = DiagnosisView(self._clock.now_ms(), False, [FindingView(*each) for each in found])
        except Exception:
            # a bug of a check must not end the checks
            logger.exception("the diagnosis failed")
        finally:
            self._ended_s = self._clock.monotonic_s()
            self._task = None
