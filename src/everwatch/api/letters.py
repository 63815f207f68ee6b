"""Dead letters, as the sink keeps them: what was refused, why, and the beginning of it without secrets."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from everwatch.api.database import Database
from everwatch.api.problems import Problem
from everwatch.api.queries import Interval, OfUser, when_of
from everwatch.api.routing import Answer, Call
from everwatch.api.views import Instant
from everwatch.core.clock import Clock
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.operations.dead_letter_view import plain_stored
from everwatch.schedule.duration import DAY_MS
from everwatch.store import Reader
from everwatch.store.interface import When
from everwatch.store.letters import LetterCount, LetterSelection, StoredLetter
from everwatch.store.paging import InvalidCursor
from everwatch.store.paging import Page as StoredPage

COUNTED_MS = 7 * DAY_MS
MOST_COUNTS = 200
Text = Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)]


class LettersQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters, by when they were refused. ``source``: the topic's whole name; ``reason``: a part of it."""

    user: OfUser = ""
    source: Text = ""
    code: Text = ""
    reason: Text = ""


class LetterView(msgspec.Struct, frozen=True):
    """A dead letter. ``letter``: PARTITION/OFFSET on its topic. ``path``: of the field that was wrong.

    ``value``: a document, or the text, without secrets; null: there was none. ``problem``: why it could not be decoded.
    ``cut``: what of it is not whole.
    """

    letter: str
    refused_at: Instant
    refused_by: str
    reason: str
    path: str
    code: str
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    source_timestamp: int | None
    key: str
    encoding: str
    problem: str
    value: Any
    value_base64: str | None
    cut: list[str]
    redriven_at: int | None
    redriven_to: str | None


class LetterCountView(msgspec.Struct, frozen=True):
    """How many have a reason of one kind: what it quotes and counts is left out."""

    source: str
    code: str
    reason: str
    count: int
    newest: Instant


class LettersView(msgspec.Struct, frozen=True):
    """A page of dead letters, the latest first, and on the first page how many there are of each kind of reason.

    Those of the interval are counted, of one without a begin those of the last 7 days: since ``counted_since``.
    ``truncated``: there is a next page.
    """

    items: list[LetterView]
    next: str | None
    truncated: bool
    counted_since: Instant
    counts: list[LetterCountView]


class Letters:
    """Handler of ``/v1/dead-letters``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def list(self, _: Call, query: LettersQuery) -> Answer:
        which, when = LetterSelection(query.user, query.source, query.code, text=query.reason), when_of(query)
        counted = When(when.since or max(0, self._clock.now_ms() - COUNTED_MS), when.until)

        def read(reader: Reader) -> tuple[StoredPage[StoredLetter], list[LetterCount]]:
            page = reader.dead_letters(which, when=when, after=query.cursor, limit=query.limit)
            return page, [] if query.cursor else reader.count_letters(which, when=counted)[:MOST_COUNTS]

        try:
            page, counts = await self._database.ask(read)
        except InvalidCursor as error:
            raise Problem(400, "invalid_cursor", str(error)) from None
        return Answer(
            LettersView(
                [LetterView(**plain_stored(each)) for each in page],
                page.next or None,
                bool(page.next),
                counted.since,
                [LetterCountView(*each) for each in counts],
            )
        )
