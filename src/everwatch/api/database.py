"""Databases as the API reads them: in threads, opened when first needed, and away at times."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from everwatch.api.problems import BEHIND, Problem, unavailable
from everwatch.api.queries import label_of
from everwatch.core.clock import Clock
from everwatch.core.errors import StoreError
from everwatch.store import Partition, Reader

Value = TypeVar("Value")
THREADS = 4
MOST_WAITING = 256
"""Questions that wait for a thread; more are answered with 503 at once."""
OPEN_AGAIN_S = 1.0
PASSED_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.02
LONGEST_POSITIONS = 4_000
_POSITION = re.compile(r"(\d{1,6})@(\d{1,19})\Z")


class Closable(Protocol):
    """A reader that is closed at the end."""

    def close(self) -> None:
        """Release it."""
        ...


Asked = TypeVar("Asked", bound=Closable)


class AskedInThreads(Generic[Asked]):
    """Asks a database in a thread. One that is unavailable fails each question at once, and is opened again later."""

    def __init__(self, open_reader: Callable[[], Asked], clock: Clock, *, threads: int = THREADS) -> None:
        self._open_reader = open_reader
        self._clock = clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")
        self._reader: Asked | None = None
        self._opening = asyncio.Lock()
        self._failure: StoreError | None = None
        self._open_again_s = 0.0
        self._waiting = 0

    async def ask(self, question: Callable[[Asked], Value]) -> Value:
        """Return what a question about the database gives. Raises StoreError, Problem when too many wait."""
        reader = self._reader or await self._opened()
        if self._waiting >= MOST_WAITING:
            raise unavailable("overloaded", "Too many requests wait for the database.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, question, reader)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Release the database."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._reader is not None:
            with suppress(StoreError):
                self._reader.close()

    async def _opened(self) -> Asked:
        async with self._opening:
            if self._reader is not None:
                return self._reader
            now_s = self._clock.monotonic_s()
            if self._failure is not None and now_s < self._open_again_s:
                raise self._failure
            try:
                self._reader = await asyncio.get_running_loop().run_in_executor(self._threads, self._open_reader)
            except StoreError as error:
                self._failure, self._open_again_s = error, now_s + OPEN_AGAIN_S
                raise
            return self._reader


class Database(AskedInThreads[Reader]):
    """The database that the sink writes."""


def positions_of(text: str) -> dict[int, int]:
    """Return the offset of each partition that an ``Everwatch-After`` names. Raises Problem."""
    found = [_POSITION.match(part.strip()) for part in text[:LONGEST_POSITIONS].split(",")]
    if not all(found) or len(text) > LONGEST_POSITIONS:
        raise Problem(
            400, "invalid_position", "Everwatch-After is the Everwatch-Position of an answer: 3@1042; or of several."
        )
    return {int(each[1]): int(each[2]) for each in sorted(filter(None, found), key=lambda each: int(each[2]))}


async def wait_for_position(database: Database, changelog: str, position: str, deadline_s: float) -> None:
    """Wait until the database has positions of the changelog, for at most ``PASSED_WITHIN_S``.

    Raises Problem for one that it does not have by then, StoreError.
    """
    wanted = positions_of(position)
    loop = asyncio.get_running_loop()
    end_s = min(deadline_s, loop.time() + PASSED_WITHIN_S)
    while True:
        stored = await database.ask(lambda reader: reader.offsets())
        if all(stored.get(Partition(changelog, number), 0) > offset for number, offset in wanted.items()):
            return
        if loop.time() >= end_s:
            raise unavailable(BEHIND, "The database does not have that write yet.")
        await asyncio.sleep(LOOK_AGAIN_S)


async def has_label(database: Database, user_id: str, monitor_id: str, label: str) -> bool:
    """Tell whether there is such a monitor and it has a label, ``KEY=VALUE`` or ``KEY``. Raises StoreError, Problem."""
    found = await database.ask(lambda reader: reader.monitor(user_id, monitor_id))
    key, value = label_of(label)
    held = None if found is None else dict(found.spec.labels).get(key)
    return held is not None and value in (None, held)
