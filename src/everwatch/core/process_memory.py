"""Memory of a process that handles much at once: when its garbage is looked for, and what it gives back."""

import ctypes
import gc
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)


def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None  # another C library than glibc
    return found


_malloc_trim = _trim()


def give_back() -> None:
    """Return freed memory to the system; takes some milliseconds, and may be called in any thread.

    Memory that a burst of work freed stays with the C library's allocator until it is trimmed.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


def expect_batches() -> None:
    """Set the garbage collector up for batches.

    They are many objects that live shortly and refer to each other little: to look for cycles among them after every
    700 took a third of the time of a registration.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
