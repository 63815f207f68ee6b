"""Changes of incidents over HTTP: a record for the notifier, and a look into its database for the outcome.

The answer waits until the notifier's database has the change, so every later read sees it, through whichever process.
A path names the incident, or the monitor whose open one is meant.
"""

from collections.abc import Callable
from typing import Any

from everwatch.api.alerting import NotifierDatabase, with_acks
from everwatch.api.incident_views import CommentBody, IncidentDetail, IncidentView, SilenceBody, SnoozeBody
from everwatch.api.problems import InvalidField, Problem, not_found
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import command_id_of, wait_of
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.encoding.codec import user_key
from everwatch.notifier.acknowledging import LONGEST_SNOOZE_MS, SHORTEST_SNOOZE_MS, Acknowledgement
from everwatch.notifier.alerts import derived_id
from everwatch.notifier.comments import MOST_COMMENTS, IncidentComment
from everwatch.notifier.incident_requests import (
    AckRequest,
    AckWithdrawal,
    CommentRequest,
    IncidentRequest,
    ResolveRequest,
    encode_request,
)
from everwatch.notifier.storage import Work
from everwatch.schedule.duration import DAY_MS, parse_duration_ms
from everwatch.schedule.instant import parse_instant_ms

IsDone = Callable[[IncidentView], bool]
_MOST_NAME = 128


class IncidentWrites:
    """Handlers of one incident: shown, and changed."""

    def __init__(self, database: NotifierDatabase, records: RecordSender, topic: str, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._topic = topic
        self._clock = clock

    async def show(self, call: Call) -> Answer:
        """Show an incident, open or over, with its comments."""
        found = await self._found(call)

        comments = await self._database.look(lambda work: work.comments(found.incident_id))
        return Answer(IncidentDetail(**_fields(found), comments=tuple(comments)))

    async def acknowledge(self, call: Call) -> Answer:
        return await self._acknowledged(call, 0)

    async def snooze(self, call: Call, body: SnoozeBody) -> Answer:
        return await self._acknowledged(call, end_of(body, self._clock.now_ms(), LONGEST_SNOOZE_MS, "a snooze"))

    async def withdraw(self, call: Call) -> Answer:
        command_id_of(call)
        incident, now = await self._open(call), self._clock.now_ms()
        if incident.ack is None:
            return _answer(call, "withdraw_ack", incident, 200)
        request = AckWithdrawal(incident.incident_id, incident.user_id, incident.monitor_id, now, name_of(call))
        # a person who acknowledges it again meanwhile has done so later
        return await self._sent(
            call, "withdraw_ack", incident, request, lambda found: found.ack is None or found.ack.acked_at > now
        )

    async def resolve(self, call: Call) -> Answer:
        """End an incident by hand; one that is over stays as it is."""
        command_id_of(call)
        incident, now = await self._found(call), self._clock.now_ms()
        if not incident.is_open:
            return _answer(call, "resolve", incident, 200)
        request = ResolveRequest(incident.incident_id, incident.user_id, incident.monitor_id, now, name_of(call))
        return await self._sent(call, "resolve", incident, request, lambda found: not found.is_open)

    async def comment(self, call: Call, body: CommentBody) -> Answer:
        """Write something on an incident, open or over."""
        command_id = command_id_of(call)
        if not (text := body.text.strip()):
            raise wrong("$.text", "a comment has a text")
        incident, now = await self._found(call), self._clock.now_ms()
        comment_id = derived_id("comment", incident.incident_id, command_id)
        comment = IncidentComment(comment_id, incident.incident_id, incident.user_id, now, name_of(call), text)

        def written(work: Work) -> list[IncidentComment]:
            return work.comments(incident.incident_id)

        held = await self._database.look(written)
        if len(held) >= MOST_COMMENTS and all(each.comment_id != comment_id for each in held):
            raise Problem(409, "too_many_comments", f"An incident takes {MOST_COMMENTS} comments.")
        await self._send(incident, CommentRequest(comment))
        found, is_settled = await self._database.settled(
            written, lambda found: any(each.comment_id == comment_id for each in found), wait_of(call)
        )
        # sent again with its key it is the one that is there
        kept = next((each for each in found if each.comment_id == comment_id), comment)
        status = 201 if is_settled else 202
        return Answer(kept, status, changes=[_change(call, "comment", incident, status)])

    async def _acknowledged(self, call: Call, snoozed_until: int) -> Answer:
        command_id_of(call)
        incident, now = await self._open(call), self._clock.now_ms()
        ack = Acknowledgement(
            incident.incident_id, incident.user_id, incident.monitor_id, now, name_of(call), snoozed_until
        )
        return await self._sent(
            call,
            "snooze" if snoozed_until else "ack",
            incident,
            AckRequest(ack),
            lambda found: found.ack is not None and found.ack.acked_at >= now,
        )

    async def _sent(
        self, call: Call, command: str, incident: IncidentView, request: IncidentRequest, is_done: IsDone
    ) -> Answer:
        """Send a request and wait until the notifier's database has it."""
        await self._send(incident, request)
        found, is_settled = await self._database.settled(
            _looking(call), lambda found: found is None or is_done(found), wait_of(call)
        )
        # an incident that has ended meanwhile has no use for it
        return _answer(call, command, _expected(call, found), 200 if is_settled else 202)

    async def _send(self, incident: IncidentView, request: IncidentRequest) -> None:
        await self._records.send(self._topic, user_key(incident.user_id), encode_request(request))

    async def _found(self, call: Call) -> IncidentView:
        """Return the incident that a path names. Raises Problem."""
        return _expected(call, await self._database.look(_looking(call)))

    async def _open(self, call: Call) -> IncidentView:
        """Return the incident that a path names, which must be open. Raises Problem."""
        found = await self._found(call)
        if not found.is_open:
            raise Problem(409, "not_open", "The incident is over.")
        return found


def _looking(call: Call) -> Callable[[Work], IncidentView | None]:
    """Return the question for the incident of a path, or for the open one of the path's monitor."""
    incident_id = call.path.get("incident_id")

    def look(work: Work) -> IncidentView | None:
        if incident_id is not None:
            incident = work.incident(incident_id)
            found = [] if incident is None else with_acks(work, [incident])
            # the answer must not say whether a monitor of another user exists
            return found[0] if found and call.principal.user_id in ("", found[0].user_id) else None
        key = call.path["user_id"], call.path["monitor_id"]
        found = with_acks(work, work.incidents([key]).values())
        return found[0] if found and found[0].is_open else None

    return look


def _expected(call: Call, incident: IncidentView | None) -> IncidentView:
    """Return the incident that there must be. Raises Problem."""
    if incident is None and "incident_id" in call.path:
        raise not_found(f"incident {call.path['incident_id']!r}: only the newest one of each monitor is kept")
    if incident is None:
        raise not_found(f"open incident of monitor {call.path['monitor_id']!r} of user {call.path['user_id']!r}")
    return incident


def _answer(call: Call, command: str, incident: IncidentView, status: int) -> Answer:
    return Answer(incident, status, changes=[_change(call, command, incident, status)])


def _change(call: Call, command: str, incident: IncidentView, status: int) -> AuditedChange:
    """Return the entry of the audit log: the path may not say whose incident it is."""
    said = "accepted" if status == 202 else "done"
    return AuditedChange(command, incident.user_id, incident.monitor_id, command_id_of(call), status, said)


def _fields(incident: IncidentView) -> dict[str, Any]:
    return {name: getattr(incident, name) for name in incident.__struct_fields__}


def name_of(call: Call) -> str:
    """Return the name of the person or token that asks."""
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
