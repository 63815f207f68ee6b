"""Periodic work of the notifier beside its loops."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

from everwatch.core.errors import is_retryable
from everwatch.notifier.doubts import resolve_doubts
from everwatch.notifier.judging import end_snoozes, release_held
from everwatch.notifier.routes import Rules
from everwatch.notifier.silencing import end_silences
from everwatch.notifier.status_file import OperatorPage
from everwatch.notifier.storage import Storage
from everwatch.notifier.subscriptions import forget_unconfirmed, tell_subscribers
from everwatch.schedule.duration import DAY_MS, HOUR_MS

OUTCOMES_WAIT_MS = 7 * DAY_MS
_TRIMMED_AT_ONCE = 2_000
_MOST_REPEATS = 50
NO_PAGES: Mapping[str, OperatorPage] = {}

Chore = tuple[str, Callable[[], object]]
"""The name of a chore, and what does it; it returns True if there is more of the same to do."""


def chores(
    storage: Storage, rules: Rules, now: int, keep_days: int, pages: Mapping[str, OperatorPage] = NO_PAGES
) -> Iterator[Chore]:
    """Yield the chores that are due at ``now`` with their names; each is one transaction, and needs none of the others.

    ``pages``: operators' status pages. ``keep_days``: for how long events and settled messages are kept; 0: forever.
    """
    yield "deciding on messages in doubt", partial(resolve_doubts, storage, rules, now, everything=False)
    yield "ending snoozes", partial(end_snoozes, storage, rules, now)
    yield "ending silences", partial(end_silences, storage, now)
    yield "releasing held alerts", partial(release_held, storage, rules, now)
    if news := {slug: page for slug, page in pages.items() if page.subscribe}:
        yield "telling subscribers", partial(tell_subscribers, storage, news, now)
    yield "forgetting addresses that were never confirmed", partial(forget_unconfirmed, storage, now)
    yield "deleting targets without failures", partial(_trim_shared, storage, now - HOUR_MS)
    yield "deleting outcomes that no broker took", partial(_trim_outcomes, storage, now - OUTCOMES_WAIT_MS)
    yield "forgetting the text messages of days before", partial(_trim_text_counts, storage, now // DAY_MS - 1)
    if keep_days:
        yield "deleting old messages", partial(_trim, storage, now - keep_days * DAY_MS)


async def run_chores(
    todo: Iterable[Chore],
    in_database: Callable[[Callable[[], object]], Awaitable[object]],
    complain: Callable[[str, str], None],
) -> None:
    """Do these chores. One that fails is reported, and stops no other. Raises retryable errors.

    One that has more to do is called again, at most 50 times; in between the database does other work.
    """
    for name, chore in todo:
        try:
            for _ in range(_MOST_REPEATS):
                if await in_database(chore) is not True:
                    break
        except Exception as error:
            if is_retryable(error):
                raise
            complain(name, f"{name} failed and will be retried: {type(error).__name__}: {error}")


def _trim(storage: Storage, before: int) -> bool:
    with storage.begin() as work:
        return work.trim(before, _TRIMMED_AT_ONCE) >= _TRIMMED_AT_ONCE


def _trim_outcomes(storage: Storage, before: int) -> None:
    with storage.begin() as work:
        work.trim_outcomes(before)


def _trim_shared(storage: Storage, before: int) -> None:
    with storage.begin() as work:
        work.trim_shared(before)


def _trim_text_counts(storage: Storage, before: int) -> None:
    with storage.begin() as work:
        work.trim_text_counts(before)
