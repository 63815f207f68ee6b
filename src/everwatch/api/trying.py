"""A monitor that is run once before it is saved: on an executor, behind its guard, and nothing is stored."""

from typing import Any
from uuid import uuid4

import msgspec
import orjson

from everwatch.api.database import Database
from everwatch.api.monitors import merged, with_secrets
from everwatch.api.problems import Problem, not_found, unavailable
from everwatch.api.rate_limiting import RateLimiter
from everwatch.api.rendering import spec_json
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import TrialView
from everwatch.core.clock import Clock
from everwatch.core.errors import RefusalCode
from everwatch.encoding.input_conversion import monitor_of
from everwatch.encoding.input_models import MonitorInput
from everwatch.encoding.trial_records import GRACE_MS, LONGEST_TRIAL_MS, TrialRequest
from everwatch.kafka.trials import TrialRuns
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import MonitorSpec
from everwatch.rules.admission import admit_monitor

TRIALS_PER_MIN = 30
"""Trials that one token may ask one process for in a minute: each opens a connection to a third party."""


class Trying:
    """Handlers of trials."""

    def __init__(self, database: Database, trials: TrialRuns, secrets: ConfigSecrets, clock: Clock) -> None:
        self._database = database
        self._trials = trials
        self._secrets = secrets
        self._clock = clock
        self._limiter = RateLimiter(TRIALS_PER_MIN)

    async def new(self, call: Call, body: MonitorInput) -> Answer:
        """Run a monitor once, on an executor, and say what it found; nothing is stored."""
        return await self._tried(call, admit_monitor(monitor_of(body, "$", "m"), "$"))

    async def changed(self, call: Call, body: dict[str, Any]) -> Answer:
        """Try a stored monitor with a merge patch applied: secrets, which are not shown, need not be sent."""
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        found = await self._database.ask(lambda reader: reader.monitor(user_id, monitor_id))
        if found is None:
            raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
        said = merged(orjson.loads(spec_json(with_secrets(self._secrets, found))), body)
        try:
            given = msgspec.convert(said, type=MonitorInput)
        except msgspec.ValidationError as error:
            raise Problem(422, RefusalCode.INVALID, str(error)) from None
        return await self._tried(call, admit_monitor(monitor_of(given, "$", monitor_id), "$"))

    async def _tried(self, call: Call, spec: MonitorSpec) -> Answer:
        if registry.kind_named(spec.kind).inline:
            raise Problem(
                409,
                RefusalCode.WRONG_KIND,
                f"There is nothing to run: monitors of the kind {spec.kind!r} are judged by what others send.",
            )
        allowance = self._limiter.take(call.principal.token_id, self._clock.monotonic_s())
        if allowance is not None and allowance.retry_in_s:
            raise Problem(
                429,
                "rate_limited",
                f"The token may try {TRIALS_PER_MIN} monitors a minute.",
                headers={"Retry-After": allowance.headers["Retry-After"]},
            )
        timeout_ms = min(spec.policy.timeout_ms, LONGEST_TRIAL_MS)
        request = TrialRequest(
            uuid4().hex,
            spec.kind,
            self._secrets.encrypted(spec).config,
            timeout_ms,
            self._clock.now_ms() + timeout_ms + GRACE_MS,
            spec.payload,
        )
        wait_s = (timeout_ms + GRACE_MS) / 1000
        outcome = await self._trials.run(request, wait_s)
        if outcome is None:
            raise unavailable("no_answer", f"No executor answered within {wait_s:g} s: is one running, and free?")
        return Answer(
            TrialView(
                outcome.status,
                outcome.reason,
                outcome.started_at,
                outcome.duration_ms,
                outcome.timings,
                outcome.detail,
                outcome.executor,
            ),
            # of the moment, and not for a cache
            headers={"Cache-Control": "no-store"},
        )
