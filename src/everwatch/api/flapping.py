"""Flapping monitors, for answers that show monitors: the notifier knows them, the database of the sink does not."""

from collections.abc import Sequence

import msgspec

from everwatch.api.alerting import NotifierDatabase
from everwatch.api.problems import Problem
from everwatch.api.views import MonitorView
from everwatch.core.clock import Clock

LOOK_AGAIN_S = 1.0
"""For how long the answer stands that no monitor at all is flapping, which is mostly so."""


class FlappingMonitors:
    """Flapping monitors as the notifier's database has them; none where there is no notifier, or it cannot be asked."""

    def __init__(self, database: NotifierDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._look_at_s = 0.0

    async def marked(self, views: Sequence[MonitorView]) -> list[MonitorView]:
        """Return monitors as they are answered, with ``flapping`` set of those that are."""
        found = await self._among({(view.user_id, view.monitor_id) for view in views})
        return [
            msgspec.structs.replace(view, flapping=True) if (view.user_id, view.monitor_id) in found else view
            for view in views
        ]

    async def _among(self, keys: set[tuple[str, str]]) -> set[tuple[str, str]]:
        now_s = self._clock.monotonic_s()
        if not keys or now_s < self._look_at_s:
            return set()
        try:
            found, _ = await self._database.look_if_there(lambda work: work.flapping(keys))
        except Problem:
            # too many wait for the notifier's database: monitors are shown without it
            return set()
        if found is None:
            self._look_at_s = now_s + LOOK_AGAIN_S
        return found or set()
