"""Pages of lists, and the cursors that lead from one to the next.

A cursor says behind which place a page begins, so what is inserted or deleted meanwhile moves nothing. It belongs to
one list with one filter and order; a digest tells one that was made up, damaged or is another list's.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from everwatch.core.errors import EverwatchError, StoreError

Value = TypeVar("Value")
Place = tuple[Any, ...]
_DIGEST_BYTES = 8
_LONGEST = 8_000


class InvalidCursor(EverwatchError):
    """A cursor that no page of this list gave."""

    def __init__(self) -> None:
        super().__init__(
            "The cursor is not one of this list: take it as the page before gave it, with the same filters and order."
        )


class Sort(StrEnum):
    """The order of a list: by id, or the newest first by when the state was entered or the record changed."""

    ID = "id"
    STATE_SINCE = "state-since"
    CHANGED = "changed"


class StoredPage(list[Value]):
    """Some values of a list; ``next``: the cursor of the page behind them, "" if they are the last."""

    next: str = ""


def cursor_of(question: Sequence[Any], place: Place) -> str:
    """Return the cursor behind a place in the list that answers a question (its name, filters and order)."""
    packed = msgspec.msgpack.encode(place)
    return urlsafe_b64encode(_digest(question, packed) + packed).decode().rstrip("=")


def place_of(question: Sequence[Any], cursor: str, kind: Any) -> Any:
    """Return the place that a cursor names, a tuple of type ``kind``; None without a cursor. Raises InvalidCursor."""
    if not cursor:
        return None
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        digest, packed = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if digest != _digest(question, packed):
            raise ValueError("another list's")
        return msgspec.msgpack.decode(packed, type=kind)
    except (ValueError, Error, msgspec.MsgspecError):
        raise InvalidCursor from None


def page_of(
    found: Sequence[Value], limit: int, question: Sequence[Any], place: Callable[[Value], Place]
) -> StoredPage[Value]:
    """Return a page of at most ``limit`` values, of which one more was looked for."""
    page = StoredPage(found[:limit])
    if len(found) > limit > 0:
        page.next = cursor_of(question, place(page[-1]))
    return page


def page_at(found: Sequence[Value], places: Sequence[Place], limit: int, question: Sequence[Any]) -> StoredPage[Value]:
    """Return a page of values whose places, and one more, were looked for first."""
    page = StoredPage(found)
    if len(places) > limit > 0:
        page.next = cursor_of(question, places[limit - 1])
    return page


def is_descending(sort: Sort, reverse: bool) -> bool:
    """Tell whether a list goes down: those by an instant have the newest first."""
    return (sort is not Sort.ID) != reverse


def no_state_of_users() -> StoreError:
    """Return what to say of a list of users by when their state was entered."""
    return StoreError("Users have no state: they are listed by id or by when they changed.")


def page_in_memory(
    values: Iterable[Value],
    key: Callable[[Value], Place],
    after: Place | None,
    *,
    descending: bool,
    limit: int,
    question: Sequence[Any],
) -> StoredPage[Value]:
    """Return the page behind a place of values that are all at hand, ordered by ``key``."""
    placed = [(key(value), value) for value in values]
    behind = [each for each in placed if after is None or (each[0] < after if descending else each[0] > after)]
    behind.sort(key=lambda each: each[0], reverse=descending)
    return page_of([value for _, value in behind[: limit + 1]], limit, question, key)


def _digest(question: Sequence[Any], packed: bytes) -> bytes:
    asked = msgspec.msgpack.encode(question)
    return blake2b(
        len(asked).to_bytes(4) + asked + packed, digest_size=_DIGEST_BYTES, person=b"everwatch-page"
    ).digest()
