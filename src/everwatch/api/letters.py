"""Dead letters, as the sink keeps them: the first bytes of each refused record, and the reason; and sending it back."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from everwatch.api.bodies import MOST_REDRIVEN, RedriveBody
from everwatch.api.database import Database
from everwatch.api.paging import cursors, total_fields, total_of
from everwatch.api.permissions import Scope
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import LettersQuery, when_of
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.state_views import LetterCountView, LettersView, LetterView, RedrivenView, RedriveView
from everwatch.api.totals import Total
from everwatch.core.clock import Clock
from everwatch.kafka.dead_letter_record import DeadLetter, place_of
from everwatch.kafka.topics import Topics
from everwatch.operations.dead_letter_view import plain_stored
from everwatch.operations.letter_edits import LetterEdits
from everwatch.operations.redriving import ChosenLetters, DeadLetterLog, LetterSender, RedriveAttempt, Wanted
from everwatch.schedule.duration import DAY_MS
from everwatch.store import Reader
from everwatch.store.letters import LetterCount, LetterSelection, StoredLetter
from everwatch.store.paging import StoredPage
from everwatch.store.selections import When

COUNTED_MS = 7 * DAY_MS
MOST_COUNTS = 200


class ToldLetter(NamedTuple):
    """A dead letter, and the user that its key names."""

    view: RedrivenView
    user_id: str


class RedriveOutcome(NamedTuple):
    """Answer of a redrive, with the outcome of each letter."""

    answered: RedriveView
    told: Sequence[ToldLetter]


Redriving = Callable[[RedriveBody], RedriveOutcome]
LookAtLetter = Callable[[int, int], Mapping[str, Any] | None]
"""Returns the fields of a dead letter as its topic has it, with secrets, by its partition and offset."""


class Letters:
    """Handlers of ``/v1/dead-letters``.

    ``redrive`` reads the topic and sends, and ``look`` reads one letter of it, in a thread.
    """

    def __init__(self, database: Database, redrive: Redriving, look: LookAtLetter, clock: Clock) -> None:
        self._database = database
        self._redrive = redrive
        self._look = look
        self._clock = clock
        # the second one of two at once would not see what the first one sends
        self._turn = asyncio.Lock()

    async def list(self, _: Call, query: LettersQuery) -> Answer:
        """List refused records, the latest first, and count them by reason."""
        which, when = LetterSelection(query.user, query.source, query.code, text=query.reason), when_of(query)
        counted = When(when.since or max(0, self._clock.now_ms() - COUNTED_MS), when.until)

        def some(reader: Reader, after: str, limit: int) -> StoredPage[StoredLetter]:
            return reader.dead_letters(which, when=when, after=after, limit=limit)

        def read(reader: Reader) -> tuple[StoredPage[StoredLetter], list[LetterCount], Total | None]:
            counts = [] if query.cursor else reader.count_letters(which, when=counted)[:MOST_COUNTS]
            return some(reader, query.cursor, query.limit), counts, total_of(query, partial(some, reader))

        with cursors():
            page, counts, total = await self._database.ask(read)
        return Answer(
            LettersView(
                [LetterView(**plain_stored(each)) for each in page],
                page.next or None,
                bool(page.next),
                counted.since,
                [LetterCountView(*each) for each in counts],
                **total_fields(total),
            )
        )

    async def get(self, call: Call) -> Answer:
        """Show a refused record."""
        partition, offset = int(call.path["partition"]), int(call.path["offset"])
        found = await self._database.ask(lambda reader: reader.dead_letter(partition, offset))
        if found is None:
            raise not_found("such dead letter")
        return Answer(LetterView(**plain_stored(found)))

    async def original(self, call: Call) -> Answer:
        """Show a refused record whole, with its secrets, as its topic has it; takes the scope secrets, too."""
        if not call.principal.has(Scope.SECRETS):
            raise Problem(403, "forbidden", "The token may not do this: this takes the scope 'secrets'.")
        partition, offset = int(call.path["partition"]), int(call.path["offset"])
        found = await asyncio.to_thread(self._look, partition, offset)
        if found is None:
            raise not_found("such dead letter on its topic")
        return Answer(LetterView(**found))

    async def redrive(self, _: Call, body: RedriveBody) -> Answer:
        """Send refused records back to where they came from, or say what would be sent."""
        named = (body.letters, body.source, body.user, body.reason, body.code, body.since, body.everything)
        if not any(named):
            raise Problem(422, "invalid", "Say which dead letters: letters, a filter such as code, or everything.")
        view = await self._in_turn(body)
        changes = [
            AuditedChange(
                "redrive_edited" if body.set_ or body.remove else "redrive",
                each.user_id,
                command_id=each.view.letter,
                status=200,
                outcome=_outcome(each.view),
            )
            for each in ([] if body.dry_run else view.told)
        ]
        return Answer(view.answered, changes=changes)

    async def _in_turn(self, body: RedriveBody) -> RedriveOutcome:
        """Redrive when no other one is under way: one whose request is over goes on in its thread."""
        await self._turn.acquire()
        redriving = asyncio.create_task(asyncio.to_thread(self._redrive, body))
        redriving.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(redriving)


def redriving(
    opened: Callable[[], DeadLetterLog],
    sender: Callable[[], LetterSender],
    topics: Topics,
    prefix: str,
    most: int = MOST_REDRIVEN,
) -> Redriving:
    """Return what carries out a redrive; it blocks, and raises BrokerUnavailable, AccessError.

    ``opened``: opens the topic. ``most``: letters that are sent at once. Letters of other topics than inputs are left
    out: an API process writes to none.
    """
    inputs = frozenset((topics.signups, topics.commands, topics.signals))

    def objection(letter: DeadLetter, edits: LetterEdits) -> str:
        if letter.source is None or letter.source.topic in inputs:
            return edits.objection(letter) if edits else ""
        return f"it came from {letter.source.topic}: send it back by 'everwatch dead-letters redrive', beside Kafka."

    def carry_out(body: RedriveBody) -> RedriveOutcome:
        places = frozenset(place[1:] for place in map(place_of, (f"-/{each}" for each in body.letters)) if place)
        wanted = Wanted(body.source, body.user, body.reason, body.code, places)
        chosen = ChosenLetters(opened, topics, prefix, wanted, since_ms=body.since)
        edits = LetterEdits(topics, body.set_, body.remove)
        attempts = chosen.attempts(
            None if body.dry_run else sender(),
            again=body.again,
            objection=lambda letter: objection(letter, edits),
            edited=edits.edited,
            most=most,
        )
        told = [_told(each) for each in attempts]
        left_out = sum(each.view.left_out is not None for each in told)
        answered = RedriveView(
            body.dry_run,
            len(told) - left_out,
            left_out,
            [each.view for each in told],
            [f"{partition}/{offset}" for partition, offset in chosen.missing],
            chosen.chosen > len(told),
        )
        return RedriveOutcome(answered, told)

    return carry_out


def _told(attempt: RedriveAttempt) -> ToldLetter:
    letter = attempt.letter
    source = f"{letter.source.topic}/{letter.source.partition}" if letter.source else None
    place = f"{letter.place.partition}/{letter.place.offset}"
    to = str(attempt.to) if attempt.to else None
    return ToldLetter(RedrivenView(place, source, to, attempt.objection or None), letter.user_id)


def _outcome(told: RedrivenView) -> str:
    return "left_out" if told.left_out else "done"
