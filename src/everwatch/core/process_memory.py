"""Memory of a process that handles much at once: when its garbage is looked for, and what it gives back."""

import ctypes
import gc
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)


# of mallopt, in glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1024 * 1024


def _of_the_c_library(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None  # another C library than glibc
    return found


_malloc_trim, _mallopt = _of_the_c_library("malloc_trim"), _of_the_c_library("mallopt")


def give_back() -> None:
    """Return freed memory to the system; takes some milliseconds, and may be called in any thread.

    Memory that a burst of work freed stays with the C library's allocator until it is trimmed.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


def expect_batches() -> None:
    """Set the process's memory up for batches; call it once, at the start.

    They are many objects that live shortly and refer to each other little: to look for cycles among them after every
    700 took a third of the time of a registration. Blocks of ``_LARGE_BYTES`` and more go back to the system as soon
    as they are freed. The C library would keep them from the second on, and a record that unpacks to 32 MB would cost
    its size once for each thread that unpacks.
    """
    if _mallopt is not None:
        _mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
