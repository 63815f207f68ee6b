"""Acknowledging and snoozing over HTTP: a record for the notifier, and a look into its database for what came of it.

The answer waits until the notifier's database has the change, so every later read sees it, through whichever process.
"""

import asyncio
from collections.abc import Callable

from everwatch.api.alerting import NotifierDatabase, with_acks
from everwatch.api.database import LOOK_AGAIN_S
from everwatch.api.incident_views import IncidentView, SnoozeBody
from everwatch.api.problems import InvalidField, Problem, not_found, unavailable
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import command_id_of, wait_of
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.core.errors import StoreError
from everwatch.encoding.codec import user_key
from everwatch.notifier.acknowledging import LONGEST_SNOOZE_MS, SHORTEST_SNOOZE_MS, Acknowledgement
from everwatch.notifier.incident_requests import AckRequest, AckWithdrawal, IncidentRequest, encode_request
from everwatch.notifier.storage import Storage
from everwatch.schedule.duration import parse_duration_ms
from everwatch.schedule.instant import parse_instant_ms

IsDone = Callable[[Acknowledgement | None], bool]
_MOST_NAME = 128


class IncidentWrites:
    """Handlers of writes about incidents."""

    def __init__(self, database: NotifierDatabase, records: RecordSender, topic: str, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._topic = topic
        self._clock = clock

    async def acknowledge(self, call: Call) -> Answer:
        return await self._acknowledged(call, 0)

    async def snooze(self, call: Call, body: SnoozeBody) -> Answer:
        return await self._acknowledged(call, _end_of(body, self._clock.now_ms()))

    async def withdraw(self, call: Call) -> Answer:
        command_id_of(call)
        incident, now = await self._open(call), self._clock.now_ms()
        if incident.ack is None:
            return Answer(incident)
        request = AckWithdrawal(incident.incident_id, incident.user_id, incident.monitor_id, now, _name_of(call))
        return await self._sent(call, request, lambda ack: ack is None or ack.acked_at > now)

    async def _acknowledged(self, call: Call, snoozed_until: int) -> Answer:
        command_id_of(call)
        incident, now = await self._open(call), self._clock.now_ms()
        ack = Acknowledgement(
            incident.incident_id, incident.user_id, incident.monitor_id, now, _name_of(call), snoozed_until
        )
        return await self._sent(call, AckRequest(ack), lambda held: held is not None and held.acked_at >= now)

    async def _sent(self, call: Call, request: IncidentRequest, is_done: IsDone) -> Answer:
        """Send a request and wait until the notifier's database has it."""
        await self._records.send(self._topic, user_key(call.path["user_id"]), encode_request(request))
        loop = asyncio.get_running_loop()
        end_s = loop.time() + wait_of(call)
        while True:
            # an incident that ends meanwhile has no use for it
            incident = await self._open(call)
            if is_done(incident.ack):
                return Answer(incident)
            if loop.time() >= end_s:
                return Answer(incident, 202)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _open(self, call: Call) -> IncidentView:
        """Return the monitor's open incident. Raises Problem."""
        key = call.path["user_id"], call.path["monitor_id"]

        def look(storage: Storage) -> list[IncidentView]:
            with storage.look() as work:
                return with_acks(work, work.incidents([key]).values())

        try:
            found = await self._database.ask(look)
        except StoreError:
            raise unavailable("no_notifier", "No notifier has been started yet, or its database is away.") from None
        if not found or not found[0].is_open:
            raise not_found(f"open incident of monitor {key[1]!r} of user {key[0]!r}")
        return found[0]


def _name_of(call: Call) -> str:
    """Return who asks, as people see it."""
    return (call.principal.name or call.principal.token_id)[:_MOST_NAME]


def _end_of(body: SnoozeBody, now: int) -> int:
    """Return until when an incident is snoozed. Raises Problem."""
    if (body.until is None) == (body.for_ is None):
        raise _wrong("$.for", "a snooze takes either for or until")
    field = "$.for" if body.until is None else "$.until"
    try:
        until = parse_instant_ms(body.until) if body.until is not None else now + parse_duration_ms(body.for_ or "")
    except ValueError as error:
        raise _wrong(field, str(error)) from None
    if not SHORTEST_SNOOZE_MS <= until - now <= LONGEST_SNOOZE_MS:
        raise _wrong(field, "a snooze lasts from 1 s to 30 days")
    return until


def _wrong(path: str, reason: str) -> Problem:
    return Problem(422, "invalid", reason, errors=[InvalidField(path, reason)])
