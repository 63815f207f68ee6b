"""Monitors that are judged and not stored."""

from typing import Any

import msgspec

from everwatch.api.problems import InvalidField
from everwatch.api.rendering import spec_json
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import ValidationView
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_conversion import monitor_of, resolved
from everwatch.encoding.input_models import MonitorInput
from everwatch.kinds.execution.config_secrets import redacted_spec
from everwatch.model import Monitor, MonitorSpec, Origin
from everwatch.rules.admission import admit_monitor
from everwatch.schedule.due import upcoming

NEXT_RUNS = 5
_ANYBODY = "u"


class Validating:
    """Handler of ``/v1/monitors/validate``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def validate(self, _: Call, body: MonitorInput) -> Answer:
        """Say whether a monitor would be admitted, and why not; nothing is stored."""
        now = self._clock.now_ms()
        try:
            spec = resolved(admit_monitor(monitor_of(body, "$", "m"), "$"), now)
        except InvalidInput as error:
            return Answer(ValidationView(False, [InvalidField(error.path, error.reason)], None, []))
        return Answer(ValidationView(True, [], _shown(spec), self._next_runs(spec, now)))

    def _next_runs(self, spec: MonitorSpec, now: int) -> list[int]:
        return upcoming(Monitor(_ANYBODY, spec, Origin.COMMAND, 1, now), now, NEXT_RUNS)


def _shown(spec: MonitorSpec) -> Any:
    # it is encoded as it stands, and read back by clients as what it says
    return msgspec.Raw(spec_json(redacted_spec(spec)))
