"""Calls of a Python function, as the interpreter's profiler reports them: nothing is replaced."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import unwrap
from types import CodeType, FrameType
from typing import Any

Arguments = dict[str, Any]


@contextmanager
def calls_of(function: Callable[..., Any], note: Callable[[Arguments], Any] = dict) -> Iterator[list[Any]]:
    """List the calls of ``function`` in this thread: what ``note`` makes of the arguments of each, by their names.

    A generator counts as called each time that it goes on.
    """
    code: CodeType = unwrap(function).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04)]
    found: list[Any] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is code:
            here = frame.f_locals
            found.append(note({name: here[name] for name in names if name in here}))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)
