"""Links in messages that acknowledge or snooze incidents: a page that says of which, with a button for each.

Opening a link changes nothing: mail scanners and chat programs do so. Its holder may acknowledge and snooze the
incidents of its message until they are over; the signature is checked with the notifier's secret, in its database.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from everwatch.api.alerting import NotifierDatabase, with_acks
from everwatch.api.incident_views import IncidentView
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.status_drawing import FORM_PAGE_HEADERS, HTML, ack_page
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.encoding.codec import user_key
from everwatch.notifier.ack_links import SNOOZES_MS, key_of
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.incident_requests import AckRequest, encode_request
from everwatch.notifier.storage import Work

WAIT_S = 5.0
_HEADERS = {**FORM_PAGE_HEADERS, "X-Robots-Tag": "noindex"}
_MOST_NAME = 128


class _Told(NamedTuple):
    """A message, and those of its incidents that are the newest of their monitors."""

    delivery: Delivery
    incidents: list[IncidentView]

    @property
    def by(self) -> str:
        """Return the person who acknowledges, as far as the link names one."""
        return f"{self.delivery.target or self.delivery.route} (link)"[:_MOST_NAME]

    @property
    def unseen(self) -> list[IncidentView]:
        """Return its open incidents without acknowledgement."""
        return _unseen(self.incidents)


class AckPages:
    """Handlers of links."""

    def __init__(self, database: NotifierDatabase, records: RecordSender, topic: str, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._topic = topic
        self._clock = clock

    async def show(self, call: Call) -> Answer:
        """Show of what a link is, with a button if there is anything to acknowledge."""
        told = await self._told(call)
        if told is None:
            return _over()
        title = "Acknowledge or snooze" if told.unseen else "Nothing is left to acknowledge"
        return _page(title, told.incidents, call.raw_path if told.unseen else "")

    async def acknowledge(self, call: Call, body: bytes) -> Answer:
        """Acknowledge, or snooze, the open incidents of a message that have no acknowledgement yet."""
        length_ms = _snooze_of(body)
        told = await self._told(call)
        if told is None:
            return _over()
        now, unseen = self._clock.now_ms(), told.unseen
        until = now + length_ms if length_ms else 0
        for each in unseen:
            ack = Acknowledgement(each.incident_id, each.user_id, each.monitor_id, now, told.by, until)
            await self._records.send(self._topic, user_key(each.user_id), encode_request(AckRequest(ack)))
        after, is_settled = told.incidents, True
        if unseen:
            ids = [each.incident_id for each in told.incidents]
            after, is_settled = await self._database.settled(
                lambda work: _incidents(work, ids), lambda found: not _unseen(found), WAIT_S
            )
        did = "snoozed" if until else "acknowledged"
        title = did.capitalize() if is_settled else f"It will be {did} in a moment"
        by = Principal("", frozenset(), name=told.by)
        status, command = 200 if is_settled else 202, "snooze" if until else "ack"
        changes = [
            AuditedChange(command, each.user_id, each.monitor_id, "", status, "done" if is_settled else "accepted", by)
            for each in unseen
        ]
        return _page(title, after, "", changes=changes)

    async def _told(self, call: Call) -> _Told | None:
        """Return of what a link is; None if it is over. Raises Problem for one that was never made."""
        key = call.path["key"]

        def look(work: Work) -> tuple[int, _Told | None] | None:
            secret = work.link_secret()
            named = None if secret is None else key_of(secret, key)
            if named is None:
                return None
            found = work.deliveries([named.delivery_id]).get(named.delivery_id)
            if found is None:
                return 0, None
            ids = [alert.incident_id for alert in found.message.alerts]
            return named.expires_at, _Told(found, _incidents(work, ids))

        found = await self._database.look(look)
        if found is None:
            raise Problem(404, "not_found", "There is no such link.")
        expires_at, told = found
        return told if self._clock.now_ms() < expires_at else None


def _snooze_of(body: bytes) -> int:
    """Return for how long a form asks to snooze, ms; 0: it acknowledges. Raises Problem."""
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=5)
        return SNOOZES_MS[fields["snooze"][0]] if "snooze" in fields else 0
    except (ValueError, KeyError):
        raise Problem(400, "invalid_form", f"The form sends snooze ({', '.join(SNOOZES_MS)}) or nothing.") from None


def _incidents(work: Work, incident_ids: Sequence[str]) -> list[IncidentView]:
    found = (work.incident(each) for each in dict.fromkeys(incident_ids))
    return with_acks(work, [each for each in found if each is not None])


def _unseen(incidents: Sequence[IncidentView]) -> list[IncidentView]:
    return [each for each in incidents if each.is_open and each.ack is None]


def _page(
    title: str, incidents: Sequence[IncidentView], action: str, *, changes: Sequence[AuditedChange] = ()
) -> Answer:
    return Answer(ack_page(title, incidents, action), 200, _HEADERS, HTML, changes)


def _over() -> Answer:
    return Answer(ack_page("This link is over", [], ""), 410, _HEADERS, HTML, [])
