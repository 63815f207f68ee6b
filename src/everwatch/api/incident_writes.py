"""Acknowledging and snoozing over HTTP: a record for the notifier, and a look into its database for what came of it.

The answer waits until the notifier's database has the change, so every later read sees it, through whichever process.
"""

from collections.abc import Callable

from everwatch.api.alerting import NotifierDatabase, with_acks
from everwatch.api.incident_views import IncidentView, SilenceBody, SnoozeBody
from everwatch.api.problems import InvalidField, Problem, not_found
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import command_id_of, wait_of
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.encoding.codec import user_key
from everwatch.notifier.acknowledging import LONGEST_SNOOZE_MS, SHORTEST_SNOOZE_MS, Acknowledgement
from everwatch.notifier.incident_requests import AckRequest, AckWithdrawal, IncidentRequest, encode_request
from everwatch.notifier.storage import Work
from everwatch.schedule.duration import DAY_MS, parse_duration_ms
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
        return await self._acknowledged(call, end_of(body, self._clock.now_ms(), LONGEST_SNOOZE_MS, "a snooze"))

    async def withdraw(self, call: Call) -> Answer:
        command_id_of(call)
        incident, now = await self._open(call), self._clock.now_ms()
        if incident.ack is None:
            return Answer(incident)
        request = AckWithdrawal(incident.incident_id, incident.user_id, incident.monitor_id, now, name_of(call))
        return await self._sent(call, request, lambda ack: ack is None or ack.acked_at > now)

    async def _acknowledged(self, call: Call, snoozed_until: int) -> Answer:
        command_id_of(call)
        incident, now = await self._open(call), self._clock.now_ms()
        ack = Acknowledgement(
            incident.incident_id, incident.user_id, incident.monitor_id, now, name_of(call), snoozed_until
        )
        return await self._sent(call, AckRequest(ack), lambda held: held is not None and held.acked_at >= now)

    async def _sent(self, call: Call, request: IncidentRequest, is_done: IsDone) -> Answer:
        """Send a request and wait until the notifier's database has it."""
        await self._records.send(self._topic, user_key(call.path["user_id"]), encode_request(request))
        found, is_settled = await self._database.settled(
            _looking(call), lambda found: found is None or is_done(found.ack), wait_of(call)
        )
        # an incident that has ended meanwhile has no use for it
        return Answer(_expected(call, found), 200 if is_settled else 202)

    async def _open(self, call: Call) -> IncidentView:
        return _expected(call, await self._database.look(_looking(call)))


def _looking(call: Call) -> Callable[[Work], IncidentView | None]:
    """Return the question for the monitor's open incident."""
    key = call.path["user_id"], call.path["monitor_id"]

    def look(work: Work) -> IncidentView | None:
        found = with_acks(work, work.incidents([key]).values())
        return found[0] if found and found[0].is_open else None

    return look


def _expected(call: Call, incident: IncidentView | None) -> IncidentView:
    """Return the incident that there must be. Raises Problem."""
    if incident is None:
        raise not_found(f"open incident of monitor {call.path['monitor_id']!r} of user {call.path['user_id']!r}")
    return incident


def name_of(call: Call) -> str:
    """Return who asks, as people see it."""
    return (call.principal.name or call.principal.token_id)[:_MOST_NAME]


def end_of(body: SnoozeBody | SilenceBody, begin: int, longest_ms: int, what: str) -> int:
    """Return when something that begins at an instant ends. Raises Problem. ``what`` it is, for people."""
    if (body.until is None) == (body.for_ is None):
        raise wrong("$.for", f"{what} takes either for or until")
    field = "$.for" if body.until is None else "$.until"
    try:
        until = parse_instant_ms(body.until) if body.until is not None else begin + parse_duration_ms(body.for_ or "")
    except ValueError as error:
        raise wrong(field, str(error)) from None
    if not SHORTEST_SNOOZE_MS <= until - begin <= longest_ms:
        raise wrong(field, f"{what} lasts from 1 s to {longest_ms // DAY_MS} days")
    return until


def wrong(path: str, reason: str) -> Problem:
    """Return the problem of a field."""
    return Problem(422, "invalid", reason, errors=[InvalidField(path, reason)])
