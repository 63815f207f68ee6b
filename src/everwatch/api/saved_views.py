"""Saved views of the console: the filters and the order of a page under a name, shared by those who see the same.

A view is one record of the topic ``jobs``, which every API process follows, under the key ``view/ID``.
"""

import logging
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem, not_found
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.saved_view_types import SavedView, SavedViewBody, SavedViewList
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.kafka.consumed_record import Record

logger = logging.getLogger(__name__)
PREFIX = b"view/"
MOST_VIEWS, MOST_OF_USER = 500, 20
"""Views of all who are not limited to a user, and those of one user."""
_decoder = msgspec.json.Decoder(SavedView)


class SavedViews:
    """The views that are known; taken in by the follower's thread, one step at a time."""

    def __init__(self) -> None:
        self._views: dict[str, SavedView] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Take in the views among records; one that is wrong counts as deleted."""
        for record in records:
            key = record.key or b""
            if not key.startswith(PREFIX):
                continue
            try:
                found = None if record.value is None else _decoder.decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                logger.warning("%s, partition %d, offset %d: %s", record.topic, record.partition, record.offset, error)
                found = None
            if found is not None and _key_of(found) == key:
                self.put(found)
            else:
                self._views.pop(key.removeprefix(PREFIX).decode(errors="replace"), None)

    def put(self, view: SavedView) -> None:
        """Take in a view."""
        self._views[view.view_id] = view

    def forget(self, view: SavedView) -> None:
        """Forget a view."""
        self._views.pop(view.view_id, None)

    def of(self, user_id: str) -> list[SavedView]:
        """Return the views of a user, "" for those of all who are not limited to one, by page and name."""
        views = [each for each in self._views.copy().values() if (each.user_id or "") == user_id]
        return sorted(views, key=lambda view: (view.page, view.name))


class SavedViewRoutes:
    """Handlers of ``/v1/views``."""

    def __init__(self, views: SavedViews, records: RecordSender, topic: str, clock: Clock) -> None:
        self._views = views
        self._records = records
        self._topic = topic
        self._clock = clock

    async def list(self, call: Call) -> Answer:
        """List the saved views of the console."""
        return Answer(SavedViewList(self._views.of(call.principal.user_id)))

    async def save(self, call: Call, body: SavedViewBody) -> Answer:
        """Save the filters and the order of a page under a name."""
        user_id = call.principal.user_id
        view = SavedView(
            view_id=_id_of(user_id, body.page, body.name),
            page=body.page,
            name=body.name,
            query=body.query,
            user_id=user_id or None,
            created_by=call.principal.name,
            created_at=self._clock.now_ms(),
        )
        held, most = self._views.of(user_id), MOST_OF_USER if user_id else MOST_VIEWS
        if len(held) >= most and all(each.view_id != view.view_id for each in held):
            raise Problem(409, "too_many_views", f"There are {len(held)} saved views: delete one first.")
        await self._records.send(self._topic, _key_of(view), msgspec.json.encode(view))
        self._views.put(view)
        return Answer(view, changes=[_change("save_view", call.principal, view, 200)])

    async def delete(self, call: Call) -> Answer:
        """Delete a saved view."""
        wanted = call.path["view_id"]
        found = next((each for each in self._views.of(call.principal.user_id) if each.view_id == wanted), None)
        if found is None:
            raise not_found("such view")
        await self._records.send(self._topic, _key_of(found), None)
        self._views.forget(found)
        return Answer(None, 204, changes=[_change("delete_view", call.principal, found, 204)])


def _id_of(user_id: str, page: str, name: str) -> str:
    """Return the id of a view: the same one for the same name on the same page."""
    return blake2b(f"{user_id}\0{page}\0{name}".encode(), digest_size=8).hexdigest()


def _key_of(view: SavedView) -> bytes:
    return PREFIX + view.view_id.encode()


def _change(command: str, principal: Principal, view: SavedView, status: int) -> AuditedChange:
    return AuditedChange(command, principal.user_id, command_id=view.view_id, status=status, outcome="done")
