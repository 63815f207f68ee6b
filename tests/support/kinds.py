"""Kinds that a test brings, as a package of another owner brings its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from everwatch.kinds import registry


@contextmanager
def kind_given(kind: Any) -> Iterator[None]:
    """Have ``kind`` under its name meanwhile, in place of a built-in one too."""
    before = registry.loaded_kinds.get(kind.name)
    registry.loaded_kinds[kind.name] = kind
    try:
        yield
    finally:
        del registry.loaded_kinds[kind.name]
        if before is not None:
            registry.loaded_kinds[kind.name] = before
        registry.forget()
