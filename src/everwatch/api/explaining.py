"""Explanation of a monitor's state, as of ``everwatch explain``."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec

from everwatch.api.database import Database
from everwatch.api.problems import not_found
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import ExplanationView
from everwatch.core.clock import Clock
from everwatch.core.errors import AccessError, BrokerUnavailable
from everwatch.kafka.process_figures import GroupMembers
from everwatch.kinds.execution.config_secrets import redacted_spec
from everwatch.model import Monitor, Policy
from everwatch.operations.explanation import explain
from everwatch.operations.monitor_facts import known_of
from everwatch.operations.schedule_words import schedule_words
from everwatch.schedule.instant import instant_text
from everwatch.store import Reader

Owners = Callable[[int, Policy], GroupMembers]


class Explaining:
    """Handler of a monitor's explanation. ``owners`` asks the broker, in a thread. Raises BrokerUnavailable."""

    def __init__(self, database: Database, owners: Owners, clock: Clock) -> None:
        self._database = database
        self._owners = owners
        self._clock = clock

    async def explain(self, call: Call) -> Answer:
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]

        def found_in(reader: Reader) -> tuple[Monitor | None, int | None]:
            return reader.monitor(user_id, monitor_id), reader.partition_of(user_id)

        monitor, partition = await self._database.ask(found_in)
        if monitor is None:
            raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
        found = monitor
        owners, problem = await self._owners_of(partition, found.spec.policy)
        known = await self._database.ask(lambda reader: known_of(reader, found, partition, owners))
        told = explain(known, self._clock.now_ms())
        view = ExplanationView(
            **{name: getattr(told, name) for name in told.__struct_fields__ if name != "schedule"},
            schedule_text=schedule_words(found.spec, instant_text),
            broker=problem,
            config=cast(dict[str, Any], msgspec.Raw(redacted_spec(found.spec).config.encode())),
        )
        return Answer(view)

    async def _owners_of(self, partition: int | None, policy: Policy) -> tuple[GroupMembers | None, str]:
        if partition is None:
            return None, "its user is not stored yet"
        try:
            return await asyncio.to_thread(self._owners, partition, policy), ""
        except (BrokerUnavailable, AccessError) as error:
            return None, "Kafka does not answer at the moment" if isinstance(error, AccessError) else str(error)
