"""Live events: results and transitions as they come, by server-sent events.

One consumer for all clients of a process, and only while there is one. What a client cannot take is dropped, and it is
told how much: nothing waits for a client, and what waits for one is bounded. Records are decoded for the clients that
get them, not before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from everwatch.api.edge import EVENT_STREAM, SECURITY_HEADERS, request_id_of
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem, unavailable
from everwatch.api.queries import OfUser, narrowed
from everwatch.api.routing import Call
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import Result, Transition

MOST_CLIENTS = 10_000
PER_S = 50
"""Events a second that a client gets at most."""
MOST_QUEUED = 100
BEAT_S = 10.0
"""How often a silent stream is written to, so that a client and what lies between know that it lives."""
WRITE_WITHIN_S = 10.0
EventKind = Literal["result", "transition"]
Event = tuple[EventKind, Record]
Taker = Callable[[Sequence[Record]], None]
Close = Callable[[], Awaitable[None]]


class LiveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events: of one user, of one monitor of that user, of one kind."""

    user: OfUser = ""
    monitor: Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="The monitor's id; takes a user.")] = ""
    only: Annotated[EventKind | None, Meta(description="Results or transitions only.")] = None


class Client:
    """One stream: what waits for it, and how much was dropped."""

    def __init__(self, user_id: str, monitor_id: str, only: EventKind | None) -> None:
        self.user_id = user_id
        self._monitor_id = monitor_id
        self._only = only
        self._queue: deque[tuple[EventKind, Record, Result | Transition]] = deque()
        self._budget = float(PER_S)
        self._filled_s = 0.0
        self.dropped = 0
        self.news = asyncio.Event()

    def offer(self, events: Sequence[Event], now_s: float) -> None:
        """Take as many events as the client's rate and its queue allow; the rest is dropped, and counted."""
        self._budget = min(float(PER_S), self._budget + (now_s - self._filled_s) * PER_S)
        self._filled_s = now_s
        for index, (kind, record) in enumerate(events):
            if self._only is not None and kind != self._only:
                continue
            if self._budget < 1 or len(self._queue) >= MOST_QUEUED:
                # what is left may hold some that the client does not want: it is not decoded to find out
                self.dropped += len(events) - index
                break
            with suppress(InvalidInput):
                value = codec.decode_result(record.value) if kind == "result" else codec.decode_transition(record.value)
                if not self._monitor_id or value.monitor_id == self._monitor_id:
                    self._queue.append((kind, record, value))
                    self._budget -= 1
        if self._queue or self.dropped:
            self.news.set()

    def take(self) -> bytes:
        """Return what waits, as it is sent; nothing if nothing does."""
        self.news.clear()
        parts = []
        while self._queue:
            kind, record, value = self._queue.popleft()
            place = f"{kind}/{record.partition}/{record.offset}".encode()
            parts.append(b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), place, msgspec.json.encode(value)))
        if self.dropped:
            parts.append(b'event: dropped\ndata: {"dropped":%d}\n\n' % self.dropped)
            self.dropped = 0
        return b"".join(parts)


class Live:
    """The clients of a process. ``follow`` begins to follow results and transitions, and gives what ends that."""

    def __init__(
        self,
        topics: Topics,
        follow: Callable[[Taker], Awaitable[Close]],
        is_valid: Callable[[Principal], bool],
        clock: Clock,
    ) -> None:
        self._kinds: dict[str, EventKind] = {topics.results: "result", topics.transitions: "transition"}
        self._follow = follow
        self._is_valid = is_valid
        self._clock = clock
        self._of_all: set[Client] = set()
        self._of_user: dict[bytes, set[Client]] = {}
        self._turn = asyncio.Lock()
        self._close: Close | None = None
        self._stopping = asyncio.Event()

    @property
    def clients(self) -> int:
        """How many streams there are."""
        return len(self._of_all) + sum(map(len, self._of_user.values()))

    async def stream(self, call: Call, query: LiveQuery, request: web.Request) -> web.StreamResponse:
        """Send events until the client leaves, its token is revoked, or the process stops. Raises Problem."""
        user_id = narrowed(call.principal, query.user)
        if query.monitor and not user_id:
            raise Problem(400, "invalid_parameter", "A monitor takes its user: ids of monitors are a user's.")
        if self.clients >= MOST_CLIENTS:
            raise unavailable("overloaded", f"This process has {MOST_CLIENTS} streams already.")
        client = Client(user_id, query.monitor, query.only)
        # the stream has no end, what comes before it has
        async with asyncio.timeout_at(call.deadline_s):
            await self._add(client)
        try:
            response = web.StreamResponse(headers=_headers(request))
            await response.prepare(request)
            await self._write(response, b": everwatch\n\n")
            await self._pump(client, response, call.principal)
        except (ConnectionError, TimeoutError):
            pass  # it left, or does not read
        finally:
            await self._remove(client)
        return response

    async def stop(self) -> None:
        """End all streams."""
        self._stopping.set()
        for client in (*self._of_all, *(each for some in self._of_user.values() for each in some)):
            client.news.set()
        async with self._turn:
            await self._unfollow()

    def take(self, records: Sequence[Record]) -> None:
        """Hand records to the clients that want them. On the event loop."""
        now_s = self._clock.monotonic_s()
        events = [(self._kinds[record.topic], record) for record in records if record.topic in self._kinds]
        for client in self._of_all:
            client.offer(events, now_s)
        if self._of_user:
            for kind, record in events:
                for client in self._of_user.get(record.key or b"", ()):
                    client.offer([(kind, record)], now_s)

    async def _pump(self, client: Client, response: web.StreamResponse, principal: Principal) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(client.news.wait(), BEAT_S)
            if self._stopping.is_set() or not self._is_valid(principal):
                return
            await self._write(response, client.take() or b": \n\n")

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await response.write(data)

    async def _add(self, client: Client) -> None:
        async with self._turn:
            if self._close is None:
                loop = asyncio.get_running_loop()

                def take(records: Sequence[Record]) -> None:
                    if not loop.is_closed():
                        loop.call_soon_threadsafe(self.take, records)

                self._close = await self._follow(take)
        if client.user_id:
            self._of_user.setdefault(codec.user_key(client.user_id), set()).add(client)
        else:
            self._of_all.add(client)

    async def _remove(self, client: Client) -> None:
        self._of_all.discard(client)
        key = codec.user_key(client.user_id)
        if (some := self._of_user.get(key)) is not None:
            some.discard(client)
            if not some:
                del self._of_user[key]
        async with self._turn:
            if not self.clients:
                await self._unfollow()

    async def _unfollow(self) -> None:
        if self._close is not None:
            close, self._close = self._close, None
            await close()


def _headers(request: web.Request) -> dict[str, str]:
    return {
        **SECURITY_HEADERS,
        "Content-Type": EVENT_STREAM,
        # a proxy that gathers what is sent would keep events back
        "X-Accel-Buffering": "no",
        "X-Request-Id": request_id_of(request),
    }
