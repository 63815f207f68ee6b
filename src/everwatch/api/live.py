"""Live events: results and transitions as they come, by server-sent events.

One consumer for all clients of a process, and only while there is one. Events that a client cannot take are dropped,
and it is sent their number: nothing waits for a client, and what waits for one is bounded. Records are decoded for the
clients that get them, not before. A client that comes back names what it has seen last (``Last-Event-ID``): what came
since is read again for it, within bounds.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec
from aiohttp import web

from everwatch.api.edge import EVENT_STREAM
from everwatch.api.event_ids import Positions, positions_in, positions_text
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem, unavailable
from everwatch.api.queries import EventKind, LiveQuery, narrowed
from everwatch.api.request_ids import request_id_of
from everwatch.api.responses import SECURITY_HEADERS
from everwatch.api.routing import Call
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import Result, Transition

MOST_CLIENTS = 10_000
MOST_OF_USER = 100
"""Streams that all tokens and sessions of one user have together: no user keeps the others and the operators out."""
RETRY_AFTER_S = 10
PER_S = 50
"""Events a second that a client gets at most."""
MOST_QUEUED = 100
BEAT_S = 10.0
"""How often a silent stream is written to, so that a client and what lies between know that it lives."""
WRITE_WITHIN_S = 10.0
MOST_REPLAYED = 20_000
"""Records that are read again for a client that was disconnected; of more the older ones count as dropped."""
MOST_RESUMED = 1_000
"""Events that such a client gets of them, the newest."""
REPLAYS_AT_ONCE = 4
Event = tuple[EventKind, Record]
Value = Result | Transition
Taker = Callable[[Sequence[Record]], None]
Close = Callable[[], Awaitable[None]]
Replay = Callable[[Mapping[tuple[str, int], range]], Iterable[Sequence[Record]]]
"""Reads offsets of topics and partitions again, in the thread that calls it. Raises BrokerUnavailable."""


class Following(NamedTuple):
    """Topics that are followed: where that begins, by topic and partition, and what ends it."""

    starts: Mapping[tuple[str, int], int]
    close: Close


class Missed(NamedTuple):
    """Replay for a client that was disconnected: events, the oldest first, and how many records are left out."""

    events: Sequence[tuple[EventKind, Record, Value]]
    dropped: int


class LiveClient:
    """One stream: what waits for it, and how much was dropped.

    ``offered``: of each partition the offset behind what was offered to it, as ids of events say it.
    """

    def __init__(self, user_id: str, monitor_id: str, only: EventKind | None, offered: Positions | None = None) -> None:
        self.user_id = user_id
        self._monitor_id = monitor_id
        self._only = only
        self._queue: deque[tuple[EventKind, Record, Value]] = deque()
        self._budget = float(PER_S)
        self._filled_s = 0.0
        self.dropped = 0
        self.offered: Positions = dict(offered or {})
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
            if (value := self.wanted(kind, record)) is not None:
                self._queue.append((kind, record, value))
                self._budget -= 1
        if self._queue or self.dropped:
            self.news.set()

    def wanted(self, kind: EventKind, record: Record) -> Value | None:
        """Return what a record says, if the client wants it; the user is not looked at."""
        if self._only is not None and kind != self._only:
            return None
        value: Value
        try:
            value = codec.decode_result(record.value) if kind == "result" else codec.decode_transition(record.value)
        except InvalidInput:
            return None
        return value if self._monitor_id in ("", value.monitor_id) else None

    def take(self, offered: Positions) -> bytes:
        """Return the waiting events as bytes to send; empty without any. ``offered``: all before it was offered."""
        self.news.clear()
        queued, self._queue = self._queue, deque()
        sent = self.written(queued, self.dropped)
        self.dropped = 0
        self.offered = dict(offered)
        return sent

    def written(self, events: Iterable[tuple[EventKind, Record, Value]], dropped: int) -> bytes:
        """Return events as they are sent, each with an id from which the client goes on behind it."""
        parts = []
        for kind, record, value in events:
            self.offered[kind, record.partition] = max(record.offset + 1, self.offered.get((kind, record.partition), 0))
            place = f"{kind}/{record.partition}/{record.offset}{positions_text(self.offered)}".encode()
            parts.append(b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), place, msgspec.json.encode(value)))
        if dropped:
            parts.append(b'event: dropped\ndata: {"dropped":%d}\n\n' % dropped)
        return b"".join(parts)

    def beat(self) -> bytes:
        """Return what says that the stream lives, and where to go on: an id without data is no event."""
        text = positions_text(self.offered)
        return b"id: %b\n\n" % text.encode() if text else b": \n\n"


class Live:
    """The clients of a process.

    ``follow`` begins to follow results and transitions; ``replay`` reads some of them again, in a thread. A client
    without news gets a beat every ``beat_s``; a connection that is gone is noticed then.
    """

    def __init__(
        self,
        topics: Topics,
        follow: Callable[[Taker], Awaitable[Following]],
        replay: Replay,
        is_valid: Callable[[Principal], bool],
        clock: Clock,
        beat_s: float = BEAT_S,
    ) -> None:
        self._beat_s = beat_s
        self._kinds: dict[str, EventKind] = {topics.results: "result", topics.transitions: "transition"}
        self._topics: dict[EventKind, str] = {kind: topic for topic, kind in self._kinds.items()}
        self._follow = follow
        self._replay = replay
        self.most_replayed = MOST_REPLAYED
        self.most_of_user = MOST_OF_USER
        self.most_clients = MOST_CLIENTS
        # by the user that a token is limited to, those that begin included
        self._limited: Counter[str] = Counter()
        self._replaying = asyncio.Semaphore(REPLAYS_AT_ONCE)
        # of each partition that is followed: behind the last record
        self._positions: Positions = {}
        self._is_valid = is_valid
        self._clock = clock
        self._of_all: set[LiveClient] = set()
        self._of_user: dict[bytes, set[LiveClient]] = {}
        self._turn = asyncio.Lock()
        self._close: Close | None = None
        self._stopping = asyncio.Event()

    @property
    def clients(self) -> int:
        """Number of streams."""
        return len(self._of_all) + sum(map(len, self._of_user.values()))

    async def stream(self, call: Call, query: LiveQuery, request: web.Request) -> web.StreamResponse:
        """Send events until the client leaves, its token is revoked, or the process stops. Raises Problem."""
        user_id = narrowed(call.principal, query.user)
        if query.monitor and not user_id:
            raise Problem(400, "invalid_parameter", "A monitor takes its user: ids of monitors are a user's.")
        if self.clients >= self.most_clients:
            raise unavailable("overloaded", f"This process has {self.most_clients} streams already.")
        with self._counted(call.principal.user_id):
            return await self._stream(call, query, user_id, request)

    @contextmanager
    def _counted(self, user_id: str) -> Iterator[None]:
        """Count a stream of a token that is limited to a user, "" for one that is not. Raises Problem."""
        if not user_id:
            yield
            return
        if self._limited[user_id] >= self.most_of_user:
            detail = f"Tokens of this user have {self.most_of_user} streams of this process already: end one."
            raise Problem(429, "too_many_streams", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        self._limited[user_id] += 1
        try:
            yield
        finally:
            self._limited[user_id] -= 1
            if not self._limited[user_id]:
                del self._limited[user_id]

    async def _stream(self, call: Call, query: LiveQuery, user_id: str, request: web.Request) -> web.StreamResponse:
        client = LiveClient(user_id, query.monitor, query.only)
        # the stream has no end, what comes before it has
        async with asyncio.timeout_at(call.deadline_s):
            await self._add(client)
            begun = client.offered
            try:
                missed = await self._missed(client, positions_in(request.headers.get("Last-Event-ID", "")))
            except BaseException:
                await self._remove(client)
                raise
        try:
            response = web.StreamResponse(headers=_headers(request))
            await response.prepare(request)
            await self._write(response, b": everwatch\n\n" + client.written(missed.events, missed.dropped))
            client.offered = begun
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
        for kind, record in events:
            place = kind, record.partition
            self._positions[place] = max(record.offset + 1, self._positions.get(place, 0))
        for client in self._of_all:
            client.offer(events, now_s)
        if self._of_user:
            for kind, record in events:
                for client in self._of_user.get(record.key or b"", ()):
                    client.offer([(kind, record)], now_s)

    async def _missed(self, client: LiveClient, since: Positions) -> Missed:
        """Records between ``since`` and the first live one, and the number of those that are lost."""
        begun = client.offered
        places = [each for each in begun if since.get(each, begun[each]) < begun[each]]
        if not places:
            return Missed((), 0)
        # of many the older ones are left out, so that no client makes this process read whole topics
        most, wanted, dropped = self.most_replayed // len(places), dict[tuple[str, int], range](), 0
        for kind, number in places:
            start = max(since[kind, number], begun[kind, number] - most)
            dropped += start - since[kind, number]
            wanted[self._topics[kind], number] = range(start, begun[kind, number])
        async with self._replaying:
            found = await asyncio.to_thread(self._read_again, client, wanted)
        client.offered = begun | {place: since[place] for place in places}
        return found._replace(dropped=found.dropped + dropped)

    def _read_again(self, client: LiveClient, wanted: Mapping[tuple[str, int], range]) -> Missed:
        """Those of the records that a client wants; in a thread."""
        key = codec.user_key(client.user_id) if client.user_id else None
        kept: deque[tuple[EventKind, Record, Value]] = deque(maxlen=MOST_RESUMED)
        found = 0
        for records in self._replay(wanted):
            for record in records:
                kind = self._kinds[record.topic]
                if key in (None, record.key) and (value := client.wanted(kind, record)) is not None:
                    kept.append((kind, record, value))
                    found += 1
        return Missed(kept, found - len(kept))

    async def _pump(self, client: LiveClient, response: web.StreamResponse, principal: Principal) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(client.news.wait(), self._beat_s)
            if self._stopping.is_set() or not self._is_valid(principal):
                return
            await self._write(response, client.take(self._positions) or client.beat())

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await response.write(data)

    async def _add(self, client: LiveClient) -> None:
        async with self._turn:
            if self._close is None:
                loop = asyncio.get_running_loop()

                def take(records: Sequence[Record]) -> None:
                    if not loop.is_closed():
                        loop.call_soon_threadsafe(self.take, records)

                following = await self._follow(take)
                self._close = following.close
                self._positions = {
                    (self._kinds[topic], number): offset for (topic, number), offset in following.starts.items()
                }
        client.offered = dict(self._positions)
        if client.user_id:
            self._of_user.setdefault(codec.user_key(client.user_id), set()).add(client)
        else:
            self._of_all.add(client)

    async def _remove(self, client: LiveClient) -> None:
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
