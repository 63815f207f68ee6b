"""The notifier's incidents, messages and given-up addresses, read from its database.

Without a notifier there is none of it, which is said and is no error.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from everwatch.api.database import LOOK_AGAIN_S, AskedInThreads
from everwatch.api.incident_views import (
    EventView,
    IncidentView,
    Listed,
    NotificationsView,
    SharedIncidentsView,
    incident_view,
)
from everwatch.api.notifier_views import (
    ChannelsQuery,
    ChannelView,
    DeliveriesQuery,
    DeliveryDetail,
    DeliveryView,
)
from everwatch.api.paging import cursors, next_link, total_fields, total_of
from everwatch.api.problems import not_found, unavailable
from everwatch.api.queries import Countable, OfUser, ShortList, narrowed
from everwatch.api.routing import Answer, Call
from everwatch.api.totals import Total
from everwatch.core.errors import StoreError
from everwatch.notifier.delivery_rows import Channel, Delivery
from everwatch.notifier.incidents import Incident, Phase
from everwatch.notifier.rows import MOST_KEYS
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.wording import lines_of, subject_of
from everwatch.store.paging import Place, StoredPage, page_of, place_of

Item = TypeVar("Item")
Value = TypeVar("Value")
MOST_EVENTS = 50
LONGEST_PAUSE_S = 0.5
_MISSING = "no notifier has been started yet, or its database is unavailable"


class IncidentsQuery(Countable, frozen=True, forbid_unknown_fields=True):
    """Incidents that are not closed."""

    user: OfUser = ""
    phase: Annotated[
        Literal["open", "flapping"] | None, Meta(description="Only those in this phase; left out: in either.")
    ] = None


class NotifierDatabase(AskedInThreads[Storage]):
    """The notifier's database, asked by one thread: its storage is made for one."""

    async def look(self, question: Callable[[Work], Value]) -> Value:
        """Return what a question about it gives. Raises Problem where there is none, or too many wait."""

        def asked(storage: Storage) -> Value:
            with storage.look() as work:
                return question(work)

        try:
            return await self.ask(asked)
        except StoreError:
            raise unavailable("no_notifier", f"{_MISSING.capitalize()}.") from None

    async def look_if_there(self, question: Callable[[Work], Value]) -> tuple[Value | None, str]:
        """Return what a question about it gives, or why there is no database. Raises Problem when too many wait."""

        def look(storage: Storage) -> Value:
            with storage.look() as work:
                return question(work)

        try:
            return await self.ask(look), ""
        except StoreError:
            return None, _MISSING

    async def settled(
        self, question: Callable[[Work], Value], is_settled: Callable[[Value], bool], wait_s: float
    ) -> tuple[Value, bool]:
        """Ask until the answer is what it should become, for ``wait_s`` at most; gives the answer, and if it is.

        Raises Problem as ``look``.
        """
        loop = asyncio.get_running_loop()
        end_s, pause_s = loop.time() + wait_s, LOOK_AGAIN_S
        while True:
            found = await self.look(question)
            if is_settled(found):
                return found, True
            if loop.time() >= end_s:
                return found, False
            # there is one thread: requests that wait for a notifier that is down must not fill it
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class NotifierPages(NamedTuple, Generic[Item]):
    """Pages of one list: the question that its cursors belong to, and how its items are read and placed.

    ``read`` returns the items after a place (of type ``kind``; None: from the first), at most the given number, in the
    order of ``place``.
    """

    question: Sequence[Any]
    kind: Any
    read: Callable[[Work, Any, int], list[Item]]
    place: Callable[[Item], Place]

    def page(self, work: Work, cursor: str, limit: int) -> StoredPage[Item]:
        """Return the page behind a cursor. Raises InvalidCursor."""
        found = self.read(work, place_of(self.question, cursor, self.kind), limit + 1)
        return page_of(found, limit, self.question, self.place)


class Alerting:
    """Handlers of what the notifier knows."""

    def __init__(self, database: NotifierDatabase) -> None:
        self._database = database

    async def incidents(self, call: Call, query: IncidentsQuery) -> Answer:
        """List incidents that are not closed."""
        user_id, phase = narrowed(call.principal, query.user), Phase(query.phase) if query.phase else None
        pages = NotifierPages(
            ("incidents", user_id, query.phase or ""),
            tuple[str, str],
            lambda work, after, most: work.open_incidents(user_id, most, after, phase),
            lambda incident: (incident.user_id, incident.monitor_id),
        )
        return await self._page(call, query, pages, with_acks)

    async def shared(self, _: Call) -> Answer:
        """List open incidents of many monitors: of targets, and of executors."""
        found, reason = await self._database.look_if_there(lambda work: (work.open_targets(), work.outages()))
        targets, outages = found or ([], {})
        executors = [each for each in outages.values() if each.is_open]
        return Answer(SharedIncidentsView(not reason, reason, targets, executors))

    async def deliveries(self, call: Call, query: DeliveriesQuery) -> Answer:
        """List messages to receivers of alerts."""
        which = narrowed(call.principal, query.user), query.state or "", query.route, query.since
        pages = NotifierPages(
            ("deliveries", *which),
            tuple[int, str],
            lambda work, after, most: work.list_deliveries(*which, most, after),
            lambda delivery: (delivery.created_at, delivery.delivery_id),
        )
        return await self._page(call, query, pages, lambda _, found: map(delivery_view, found))

    async def channels(self, call: Call, query: ChannelsQuery) -> Answer:
        """List addresses that were given up, because nothing sent there arrives."""
        user_id = narrowed(call.principal, query.user)
        pages = NotifierPages(
            ("channels", user_id),
            tuple[str],
            lambda work, after, most: work.list_channels(user_id, after[0] if after else "", most),
            lambda channel: (channel.channel_id,),
        )
        return await self._page(call, query, pages, lambda _, found: map(channel_view, found))

    async def _page(
        self,
        call: Call,
        query: Countable | ShortList,
        pages: "NotifierPages[Item]",
        shown: Callable[[Work, Sequence[Item]], Iterable[Any]],
    ) -> Answer:
        """Answer one page of a list of the notifier's database. Raises Problem for a wrong cursor."""

        def asked(work: Work) -> tuple[list[Any], str, Total | None]:
            found = pages.page(work, query.cursor, query.limit or MOST_KEYS)
            total = total_of(query, lambda after, limit: pages.page(work, after, limit))
            return list(shown(work, found)), found.next, total

        with cursors():
            told, reason = await self._database.look_if_there(asked)
        items, following, total = told or ([], "", None)
        view = Listed(not reason, reason, bool(following), items, following or None, **total_fields(total))
        return Answer(view, headers=next_link(call, following))

    async def delivery(self, call: Call) -> Answer:
        """Show a message to a receiver of alerts, with its lines."""
        wanted = call.path["delivery_id"]
        found = (await self._database.look(lambda work: work.deliveries([wanted]))).get(wanted)
        # a token of one user is not told whether another one's message exists
        if found is None or call.principal.user_id not in ("", found.user_id):
            raise not_found("such message")
        lines = [] if found.message.code else lines_of(found.message, with_user=not found.user_id)
        return Answer(DeliveryDetail(**msgspec.structs.asdict(delivery_view(found)), lines=lines))

    async def of_monitor(self, call: Call) -> Answer:
        """Show which alerts of a monitor's newest changes were sent to whom, or why none was sent."""
        key = call.path["user_id"], call.path["monitor_id"]

        def told(work: Work) -> tuple[IncidentView | None, list[EventView]]:
            events = [
                EventView(each.at, each.from_state.value, each.to_state.value, each.reminder, verdict)
                for each, _, verdict in work.verdicts(*key, MOST_EVENTS)
            ]
            found = with_acks(work, work.incidents([key]).values())
            return (found[0] if found else None), events

        found, reason = await self._database.look_if_there(told)
        incident, events = found or (None, [])
        return Answer(NotificationsView(not reason, reason, incident, events))


def with_acks(work: Work, incidents: Iterable[Incident]) -> list[IncidentView]:
    """Return incidents as answers show them."""
    incidents = list(incidents)
    acks = work.acks({each.incident_id for each in incidents})
    return [incident_view(each, acks.get(each.incident_id)) for each in incidents]


def delivery_view(each: Delivery) -> DeliveryView:
    """Return a message as it is answered."""
    return DeliveryView(
        each.delivery_id,
        each.route,
        each.user_id,
        each.sender,
        each.target,
        each.state,
        each.attempt,
        each.due_at,
        each.created_at,
        each.settled_at,
        each.reason,
        subject_of(each.message),
        sum(each.message.counts.values()),
    )


def channel_view(each: Channel) -> ChannelView:
    """Return an address that was given up as it is answered."""
    return ChannelView(*each[1:])
