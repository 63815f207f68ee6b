"""Numbers of items of whole lists, given on request: by the sink's counters, else counted one by one up to a limit."""

from collections.abc import Callable, Sized
from typing import NamedTuple, Protocol

from everwatch.store import Reader
from everwatch.store.selections import Selection

MOST_COUNTED = 5_000
"""Items that are counted one by one, where no counter has their number."""
_PAGE = 1_000


class Total(NamedTuple):
    """Number of items of a list; ``at_least``: there are more, which were not counted."""

    number: int
    at_least: bool = False


class CountedPage(Sized, Protocol):
    """A page of a list; ``next``: the cursor of the page behind it, "" if there is none."""

    @property
    def next(self) -> str:
        """The cursor."""
        ...


def counted_by_pages(read: Callable[[str, int], CountedPage]) -> Total:
    """Count by reading: ``read`` gives the page behind a cursor, with at most this many items."""
    count, after = 0, ""
    while count < MOST_COUNTED:
        page = read(after, _PAGE)
        count, after = count + len(page), page.next
        if not after:
            return Total(count)
    return Total(count, at_least=True)


def total_of_monitors(reader: Reader, which: Selection) -> Total:
    """Return how many monitors a selection has."""
    if (counted := monitors_by_counters(reader, which)) is not None:
        return Total(counted)
    return counted_by_pages(lambda after, limit: reader.list_monitor_ids(which, after, limit=limit))


def monitors_by_counters(reader: Reader, which: Selection) -> int | None:
    """Return how many monitors a selection has, by the sink's counters; None where these do not know it."""
    if which != Selection(state=which.state, kind=which.kind, plan=which.plan):
        return None
    return sum(
        each.monitors
        for each in reader.catalogue_counts().monitors
        if which.state in ("", each.state) and which.kind in ("", each.kind) and which.plan in ("", each.plan)
    )


def total_of_users(reader: Reader, which: Selection) -> Total:
    """Return how many users a selection has."""
    if which == Selection(plan=which.plan):
        users = reader.catalogue_counts().users
        return Total(sum(count for plan, count in users.items() if which.plan in ("", plan)))
    return counted_by_pages(lambda after, limit: reader.list_users(which, after, limit=limit))
