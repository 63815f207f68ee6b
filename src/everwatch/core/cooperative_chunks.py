"""Cooperative chunks: long loops that yield to the event loop every few milliseconds."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import TypeVar

FIRST, MOST = 50, 500
CHUNK_S = 0.003
T = TypeVar("T")


async def cooperative_chunks(items: Iterable[T]) -> AsyncIterator[list[T]]:
    """Yield the items a few at a time, and to the event loop in between: a long batch must not make ticks late."""
    rest = iter(items)
    loop = asyncio.get_running_loop()
    count = FIRST
    while few := list(islice(rest, count)):
        begun_s = loop.time()
        yield few
        taken_s = loop.time() - begun_s
        # as many as take about CHUNK_S
        count = max(1, min(int(len(few) * CHUNK_S / max(taken_s, 1e-6)), 2 * count, MOST))
        await asyncio.sleep(0)
