"""Waits until this process has read what it has written to a topic that it follows."""

import asyncio
from collections.abc import Callable

WITHIN_S = 5.0
_LOOK_AGAIN_S = 0.01


async def has_read(is_read: Callable[[], bool], within_s: float = WITHIN_S) -> bool:
    """Return whether ``is_read`` became true within some seconds; other processes follow as fast."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not is_read():
        if loop.time() >= end_s:
            return False
        await asyncio.sleep(_LOOK_AGAIN_S)
    return True
