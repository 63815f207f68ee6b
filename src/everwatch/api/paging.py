"""Pages of lists, with the cursors of the store."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from everwatch.api.database import Database
from everwatch.api.problems import Problem
from everwatch.api.queries import Paged
from everwatch.api.routing import Answer, Call
from everwatch.api.views import Page
from everwatch.store import Reader
from everwatch.store.paging import InvalidCursor, StoredPage

Row = TypeVar("Row")


async def page(
    database: Database,
    call: Call,
    query: Paged,
    read: Callable[[Reader, str, int], StoredPage[Row]],
    shown: Callable[[Row], object],
) -> Answer:
    """Answer one page of a list.

    ``read`` gives the page behind a cursor, with at most this many rows; ``shown`` is what is said of a row. The token
    of the request decides what a cursor may lead to, as the store binds it to the filters. Raises Problem for a wrong
    cursor, StoreError.
    """
    try:
        found = await database.ask(lambda reader: read(reader, query.cursor, query.limit))
    except InvalidCursor as error:
        raise Problem(400, "invalid_cursor", str(error)) from None
    return Answer(Page([shown(row) for row in found], found.next or None), headers=next_link(call, found.next))


def next_link(call: Call, cursor: str) -> dict[str, str]:
    """Return the header that names the next page; none where there is no cursor."""
    return {"Link": f'<{_next_url(call, cursor)}>; rel="next"'} if cursor else {}


def _next_url(call: Call, cursor: str) -> str:
    given = [(name, value) for name, value in parse_qsl(call.query_string, keep_blank_values=True) if name != "cursor"]
    return f"{call.raw_path}?{urlencode([*given, ('cursor', cursor)])}"
