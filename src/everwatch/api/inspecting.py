"""The database's tables and the topics: what it takes a while to ask their servers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from everwatch.api.inspecting_views import DatabaseView, TopicsView, TopicView
from everwatch.api.problems import unavailable
from everwatch.api.routing import Answer, Call
from everwatch.core.clock import Clock
from everwatch.kafka.topic_administration import TopicState
from everwatch.store.database_status import DatabaseStatus

Value = TypeVar("Value")
WAIT_S = 8.0
"""Time that an answer waits for a look, less than a request's deadline."""


class Looks(NamedTuple):
    """Looks at servers, each called in a thread.

    ``topics``: the state of each, and sentences about faults. ``letter``: the fields of a dead letter as its topic has
    it, with secrets, by its partition and offset.
    """

    database: Callable[[], DatabaseStatus]
    topics: Callable[[], tuple[Sequence[TopicState], Sequence[str]]]
    letter: Callable[[int, int], Mapping[str, Any] | None]


class Looked(NamedTuple, Generic[Value]):
    """The finding of a look, and when it was made, ms."""

    at: int
    value: Value


class SharedLook(Generic[Value]):
    """One look for all who ask meanwhile, whose finding is the answer for ``known_for_s``."""

    def __init__(self, look: Callable[[], Value], known_for_s: float, clock: Clock, wait_s: float = WAIT_S) -> None:
        self._look = look
        self._known_for_s = known_for_s
        self._clock = clock
        self._wait_s = wait_s
        self._looking: asyncio.Task[Looked[Value]] | None = None
        self._until_s = 0.0

    async def value(self) -> Looked[Value]:
        """Return the finding. Raises Problem while it takes long, and what the look raises."""
        if self._looking is None or (self._looking.done() and self._clock.monotonic_s() >= self._until_s):
            self._looking = asyncio.create_task(self._looked())
        # not broken off when one of them gives up
        await asyncio.wait({self._looking}, timeout=self._wait_s)
        if not self._looking.done():
            raise unavailable("no_answer", "It takes longer than a request may: ask again for what is found.", 5)
        return self._looking.result()

    async def _looked(self) -> Looked[Value]:
        try:
            found = await asyncio.to_thread(self._look)
        except BaseException:
            self._until_s = self._clock.monotonic_s()
            raise
        self._until_s = self._clock.monotonic_s() + self._known_for_s
        return Looked(self._clock.now_ms(), found)


class Inspecting:
    """Handlers of ``/v1/database`` and ``/v1/topics``."""

    def __init__(self, looks: Looks, clock: Clock) -> None:
        # of SQLite rows are counted, which takes the longer the more there are
        self._database = SharedLook(looks.database, 60.0, clock)
        self._topics = SharedLook(looks.topics, 5.0, clock)

    async def database(self, _: Call) -> Answer:
        """Show size, rows and oldest row of each table, for how long rows are kept, and the next deletions."""
        at, found = await self._database.value()
        return Answer(DatabaseView(at, found.kind, found.size, found.free, found.days, found.tables))

    async def topics(self, _: Call) -> Answer:
        """Compare the topics with the settings."""
        at, (states, problems) = await self._topics.value()
        items = [TopicView(each.name, each.partitions, each.problem, each.hidden) for each in states]
        return Answer(TopicsView(at, items, list(problems)))
