"""Silences as a resource: previewed, made, listed, ended. The notifier stores them; see ``incident_writes``."""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from msgspec.structs import replace

from everwatch.api.alerting import NotifierDatabase, with_acks
from everwatch.api.database import Database
from everwatch.api.incident_views import IncidentView, Listed, SelectorBody, SilenceBody, SilencePreview
from everwatch.api.incident_writes import end_of, name_of, wrong
from everwatch.api.job_views import JobPreview
from everwatch.api.jobs import counted
from everwatch.api.paging import held_page, next_link, total_fields
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import ShortList, narrowed
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import command_id_of, wait_of
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.encoding.codec import user_key
from everwatch.notifier.incident_requests import SilenceRequest, encode_request
from everwatch.notifier.silences import LONGEST_SILENCE_MS, MOST_AHEAD_MS, AlertSilence, Selector
from everwatch.notifier.storage import Work
from everwatch.schedule.instant import parse_instant_ms
from everwatch.store.selections import Selection

MOST_SILENCES, MOST_OF_LIMITED = 500, 20
"""Silences that are on or ahead at once: those that name no user, or those of one user; and how many of its user's a
token that is limited to one may make. Each change of a monitor is compared with those that are on."""
MOST_SHOWN = 10
ListOfSilences = list[AlertSilence]
_LOOKED_AT = 10_000


class Silences:
    """Handlers of ``/v1/silences``."""

    def __init__(
        self, alerts: NotifierDatabase, database: Database, records: RecordSender, topic: str, clock: Clock
    ) -> None:
        self._alerts = alerts
        self._database = database
        self._records = records
        self._topic = topic
        self._clock = clock

    async def list(self, call: Call, query: ShortList) -> Answer:
        """List silences that are on or ahead."""
        try:
            found = await self._alerts.look(self._of(call.principal))
        except Problem as problem:
            if problem.code != "no_notifier":
                raise
            return Answer(Listed[AlertSilence](False, problem.detail, False, []))
        page, total = held_page(query, found, _place, tuple[int, str], ("silences", call.principal.user_id))
        view = Listed[AlertSilence](True, "", bool(page.next), page, page.next or None, **total_fields(total))
        return Answer(view, headers=next_link(call, page.next))

    async def preview(self, call: Call, body: SelectorBody) -> Answer:
        """Say which monitors and open incidents a silence would be about."""
        match = _selected(body.match, call.principal)
        which = Selection(match.user, "", match.kind, match.plan, tuple(match.label.items()), match.target)
        is_counted = not match.target.startswith("*.")
        monitors = await self._database.ask(lambda reader: counted(reader, which)) if is_counted else JobPreview(0, [])

        def matching(work: Work) -> tuple[int, Sequence[IncidentView]]:
            found = work.open_incidents(match.user, _LOOKED_AT)
            users = work.users({each.user_id for each in found}) if match.plan else {}
            hit = [
                each
                for each in found
                if match.matches(
                    each.user_id,
                    users[each.user_id].plan if each.user_id in users else "",
                    each.monitor_kind,
                    each.target,
                    each.labels,
                )
            ]
            return len(hit), with_acks(work, hit[:MOST_SHOWN])

        count, some = await self._alerts.look(matching)
        return Answer(SilencePreview(monitors.count if is_counted else None, monitors.sample, count, [*some]))

    async def create(self, call: Call, body: SilenceBody) -> Answer:
        """Send no alerts of the monitors that a selector has, for a while; checks go on."""
        now = self._clock.now_ms()
        try:
            begin = now if body.starts_at is None else parse_instant_ms(body.starts_at)
        except ValueError as error:
            raise wrong("$.starts_at", str(error)) from None
        if begin > now + MOST_AHEAD_MS:
            raise wrong("$.starts_at", "a silence begins within a year")
        end = end_of(body, begin, LONGEST_SILENCE_MS, "a silence")
        if end <= now:
            raise wrong("$.until", "the silence would be over already")
        match = _selected(body.match, call.principal)
        key = f"{call.principal.user_id}\0{command_id_of(call)}".encode()
        made = AlertSilence(blake2b(key, digest_size=8).hexdigest(), match, begin, end, body.reason, name_of(call), now)
        found = await self._alerts.look(lambda work: work.silences(now, match.user))
        # silences that users make for themselves do not count for others
        held, most = [each for each in found if each.match.user == match.user], MOST_SILENCES
        if call.principal.user_id:
            most = MOST_OF_LIMITED
        if len(held) >= most and all(each.silence_id != made.silence_id for each in held):
            raise Problem(409, "too_many_silences", f"There are {len(held)} such silences: end one first.")
        change = AuditedChange("silence", match.user, command_id=made.silence_id, status=201, outcome="done")
        return await self._sent(call, made, 201, change)

    async def end(self, call: Call) -> Answer:
        """End a silence; alerts go out for what is still down."""
        command_id_of(call)
        wanted, now = call.path["silence_id"], self._clock.now_ms()
        found = await self._alerts.look(self._of(call.principal))
        held = next((each for each in found if each.silence_id == wanted), None)
        if held is None:
            raise not_found("such silence")
        change = AuditedChange("end_silence", held.match.user, command_id=wanted, status=200, outcome="done")
        return await self._sent(call, replace(held, ends_at=now), 200, change)

    async def _sent(self, call: Call, silence: AlertSilence, status: int, change: AuditedChange) -> Answer:
        """Send a silence and wait until the notifier's database has it."""
        key = user_key(silence.match.user or silence.silence_id)
        await self._records.send(self._topic, key, encode_request(SilenceRequest(silence)))
        now = self._clock.now_ms()
        is_over = silence.ends_at <= now

        def is_there(found: ListOfSilences) -> bool:
            return any(each.silence_id == silence.silence_id for each in found) is not is_over

        _, is_stored = await self._alerts.settled(lambda work: work.silences(now), is_there, wait_of(call))
        status = status if is_stored else 202
        return Answer(silence, status, changes=[change._replace(status=status)])

    def _of(self, principal: Principal) -> Callable[[Work], ListOfSilences]:
        now = self._clock.now_ms()
        return lambda work: work.silences(now, principal.user_id)


def _place(silence: AlertSilence) -> tuple[int, str]:
    return silence.ends_at, silence.silence_id


def _selected(match: Selector, principal: Principal) -> Selector:
    """Return a selector as far as the token goes. Raises Problem."""
    match = replace(match, user=narrowed(principal, match.user))
    if match.is_empty:
        raise wrong("$.match", "a silence names at least one of user, plan, kind, target and label")
    return match
