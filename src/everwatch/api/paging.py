"""Pages of lists, with the cursors of the store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from everwatch.api.database import Database
from everwatch.api.problems import Problem
from everwatch.api.queries import Countable, ShortList
from everwatch.api.routing import Answer, Call
from everwatch.api.totals import Total, counted_by_pages
from everwatch.api.views import Page
from everwatch.store import Reader
from everwatch.store.paging import InvalidCursor, Place, StoredPage, page_in_memory, place_of

Row = TypeVar("Row")
CountAll = Callable[[Reader], Total]


async def page(
    database: Database,
    call: Call,
    query: Countable,
    read: Callable[[Reader, str, int], StoredPage[Row]],
    shown: Callable[[Row], object],
    count: CountAll | None = None,
) -> Answer:
    """Answer one page of a list.

    ``read`` gives the page behind a cursor, with at most this many rows; ``shown`` is what is said of a row. The token
    of the request decides what a cursor may lead to, as the store binds it to the filters. ``count`` counts the whole
    list; without it pages are read. Raises Problem for a wrong cursor, StoreError.
    """

    def asked(reader: Reader) -> tuple[StoredPage[Row], Total | None]:
        count_all = None if count is None else partial(count, reader)
        return read(reader, query.cursor, query.limit), total_of(query, partial(read, reader), count_all)

    with cursors():
        found, total = await database.ask(asked)
    return Answer(
        Page([shown(row) for row in found], found.next or None, **total_fields(total)),
        headers=next_link(call, found.next),
    )


def total_of(
    query: Countable | ShortList, read: Callable[[str, int], StoredPage[Any]], count: Callable[[], Total] | None = None
) -> Total | None:
    """Return how many items a list has, if the query asks for that."""
    if not query.total:
        return None
    return counted_by_pages(read) if count is None else count()


def total_fields(total: Total | None) -> dict[str, Any]:
    """Return the fields of an answer that tell a total; none where it was not asked for."""
    return {} if total is None else {"total": total.number, "total_at_least": total.at_least}


def held_page(
    query: ShortList,
    items: Sequence[Row],
    place: Callable[[Row], Place],
    kind: Any,
    question: Sequence[Any],
    *,
    descending: bool = False,
) -> tuple[StoredPage[Row], Total | None]:
    """Return a page of a list that is at hand, and its total if that is asked for.

    ``place``: by what items are ordered, of type ``kind``; ``question``: the list's name and filters, the token's user
    among them. Raises Problem for a wrong cursor.
    """
    with cursors():
        after = place_of(question, query.cursor, kind)
    found = page_in_memory(
        items, place, after, descending=descending, limit=query.limit or len(items), question=question
    )
    return found, Total(len(items)) if query.total else None


@contextmanager
def cursors() -> Iterator[None]:
    """Raise Problem for a wrong cursor."""
    try:
        yield
    except InvalidCursor as error:
        raise Problem(400, "invalid_cursor", str(error)) from None


def next_link(call: Call, cursor: str) -> dict[str, str]:
    """Return the header that names the next page; none where there is no cursor."""
    return {"Link": f'<{_next_url(call, cursor)}>; rel="next"'} if cursor else {}


def _next_url(call: Call, cursor: str) -> str:
    given = [(name, value) for name, value in parse_qsl(call.query_string, keep_blank_values=True) if name != "cursor"]
    return f"{call.raw_path}?{urlencode([*given, ('cursor', cursor)])}"
