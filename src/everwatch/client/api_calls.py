"""Base of the client's methods: a request, a page, a command."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from uuid import uuid4

import msgspec

from everwatch.api.queries import (
    Paged,
)
from everwatch.api.views import (
    OutcomeView,
    Page,
)
from everwatch.client.errors import unknown_answer
from everwatch.client.requests import command, place, read
from everwatch.client.transport import PATIENCE_S, HttpAnswer, HttpTransport, Sleep
from everwatch.model import CommandOutcome

Value = TypeVar("Value")
WAIT_S = 5.0
PAGE = 500
"""Items of a page where all are iterated."""


class CommandAbout(NamedTuple):
    """The command, its user, and its monitor if it is for one."""

    command: str
    user_id: str
    monitor_id: str = ""


class ApiCalls:
    """Requests of one client, which the methods for users, monitors and the rest are made of."""

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        wait_s: float = WAIT_S,
        patience_s: float = PATIENCE_S,
        after: str = "",
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``after``: ``position`` of another client, whose writes reads must see. Raises SettingsError."""
        self._transport = HttpTransport(url, token, patience_s=patience_s, after=after, sleep=sleep)
        self._wait_s = wait_s
        self._patience_s = patience_s
        self._sleep = sleep

    @property
    def position(self) -> str:
        """Position of the last write, for another client that is to see it."""
        return self._transport.positions.latest

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    # --- any request ----------------------------------------------------------------------------------------------

    async def get(self, path: str, kind: type[Value], /, *, user_id: str = "", **query: Any) -> Value:
        """Return what ``path`` (below the address, percent-encoded) answers, as ``kind``."""
        return decoded(await self._transport.send(read(path, user_id=user_id, **query)), kind)

    async def page(self, path: str, query: Paged, kind: type[Value], *, user_id: str = "") -> Page[Value]:
        """Return one page of a list of ``kind``; ``next`` is the cursor of the page behind it."""
        answer = await self._transport.send(read(path, query, user_id=user_id))
        return decoded(answer, Page[kind])  # type: ignore[valid-type]

    async def _iterate(self, path: str, query: Paged, kind: type[Value], user_id: str = "") -> AsyncIterator[Value]:
        if query.limit == Paged().limit:
            query = msgspec.structs.replace(query, limit=PAGE)
        while True:
            found = await self.page(path, query, kind, user_id=user_id)
            for each in found.items:
                yield each
            if not found.next:
                return
            query = msgspec.structs.replace(query, cursor=found.next)

    async def _command(
        self,
        method: str,
        path: str,
        about: CommandAbout,
        *,
        body: Any = None,
        command_id: str = "",
        wait_s: float | None = None,
        **more: Any,
    ) -> OutcomeView:
        """Send a command; ``about`` it, for an answer that does not say it."""
        command_id = command_id or uuid4().hex
        wait_s = self._wait_s if wait_s is None else wait_s
        sent = command(method, path, command_id, user_id=about.user_id, body=body, wait_s=wait_s, **more)
        answer = await self._transport.send(sent)
        if answer.status == 204:
            position = answer.headers.get("Everwatch-Position", "")
            return OutcomeView(command_id, *about, CommandOutcome.DONE, position=position)
        return decoded(answer, OutcomeView)


def decoded(answer: HttpAnswer, kind: type[Value]) -> Value:
    """The body of an answer. Raises ApiError for a body of another type."""
    return read_as(kind, answer.body, answer.status)


def read_as(kind: type[Value], data: bytes, status: int) -> Value:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unknown_answer(status, error) from None


def monitor_place(user_id: str, monitor_id: str, *more: str) -> str:
    return place("users", user_id, "monitors", monitor_id, *more)
