"""The notifier's incidents, messages and given-up addresses, read from its database.

Without a notifier there is none of it, which is said and is no error.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

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
from everwatch.api.problems import not_found, unavailable
from everwatch.api.queries import Limit, OfUser, narrowed
from everwatch.api.routing import Answer, Call
from everwatch.core.errors import StoreError
from everwatch.notifier.delivery_rows import Channel, Delivery
from everwatch.notifier.incidents import Incident
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.wording import lines_of, subject_of

Item = TypeVar("Item")
Value = TypeVar("Value")
MOST_EVENTS = 50
LONGEST_PAUSE_S = 0.5
_MISSING = "no notifier has been started yet, or its database is away"


class IncidentsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Incidents that are not closed."""

    user: OfUser = ""
    limit: Limit = 100


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
            raise unavailable("no_notifier", "No notifier has been started yet, or its database is away.") from None

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
            # there is one thread: those who wait for a notifier that is down must not fill it
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class Alerting:
    """Handlers of what the notifier knows."""

    def __init__(self, database: NotifierDatabase) -> None:
        self._database = database

    async def incidents(self, call: Call, query: IncidentsQuery) -> Answer:
        user_id, limit = narrowed(call.principal, query.user), query.limit

        def acknowledged(work: Work) -> list[IncidentView]:
            return with_acks(work, work.open_incidents(user_id, limit + 1))

        found, reason = await self._database.look_if_there(acknowledged)
        return listed(found or [], reason, limit)

    async def shared(self, _: Call) -> Answer:
        found, reason = await self._database.look_if_there(lambda work: (work.open_targets(), work.outages()))
        targets, outages = found or ([], {})
        executors = [each for each in outages.values() if each.is_open]
        return Answer(SharedIncidentsView(not reason, reason, targets, executors))

    async def deliveries(self, call: Call, query: DeliveriesQuery) -> Answer:
        user_id, limit = narrowed(call.principal, query.user), query.limit
        found, reason = await self._database.look_if_there(
            lambda work: work.list_deliveries(user_id, query.state or "", query.route, query.since, limit + 1)
        )
        return listed([delivery_view(each) for each in found or []], reason, limit)

    async def channels(self, call: Call, query: ChannelsQuery) -> Answer:
        user_id = narrowed(call.principal, query.user)
        found, reason = await self._database.look_if_there(lambda work: work.list_channels(user_id))
        given_up = [channel_view(each) for each in found or []]
        return listed(given_up, reason, len(given_up))

    async def delivery(self, call: Call) -> Answer:
        wanted = call.path["delivery_id"]
        found = (await self._database.look(lambda work: work.deliveries([wanted]))).get(wanted)
        # a token of one user is not told whether another one's message exists
        if found is None or call.principal.user_id not in ("", found.user_id):
            raise not_found("such message")
        lines = [] if found.message.code else lines_of(found.message, with_user=not found.user_id)
        return Answer(DeliveryDetail(**msgspec.structs.asdict(delivery_view(found)), lines=lines))

    async def of_monitor(self, call: Call) -> Answer:
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


def listed(found: list[Item], reason: str, limit: int) -> Answer:
    """Return a list of at most ``limit`` items; ``reason``: why the notifier's database is not there."""
    return Answer(Listed(not reason, reason, len(found) > limit, found[:limit]))


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
