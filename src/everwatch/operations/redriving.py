"""Redrives: dead letters that are sent back to where they came from, and the outcome of each."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import NamedTuple, Protocol

from everwatch.kafka.dead_letter_record import DeadLetter, Redriven, SourcePosition
from everwatch.kafka.redrive import History, RedrivenLetter
from everwatch.kafka.topics import Topics
from everwatch.store.letters import LetterSelection

_AT_ONCE = 500


class Wanted(NamedTuple):
    """Selection of dead letters; empty fields select all."""

    source: str = ""
    user: str = ""
    reason: str = ""
    code: str = ""
    places: frozenset[tuple[int, int]] = frozenset()

    def takes(self, letter: DeadLetter, prefix: str) -> bool:
        """Return whether a dead letter is one of them; ``prefix``: of topics, which may be left out of ``source``."""
        source = letter.source.topic if letter.source else ""
        return (
            (not self.source or self.source in (source, source.removeprefix(prefix)))
            and (not self.user or letter.key == self.user.encode(errors="surrogateescape"))
            and (not self.reason or self.reason.lower() in letter.reason.lower())
            and (not self.code or letter.code == self.code)
            and (not self.places or letter.place[1:] in self.places)
        )

    def selection(self, prefix: str) -> LetterSelection:
        """The same, as the database is asked for it."""
        is_short = bool(self.source) and not self.source.startswith(prefix)
        return LetterSelection(
            self.user, f"{prefix}{self.source}" if is_short else self.source, self.code, text=self.reason
        )


class DeadLetterLog(Protocol):
    """The topic ``dead-letters``, up to where it ended when it was opened."""

    def read(self) -> Iterator[DeadLetter | Redriven]:
        """All that it holds. Raises BrokerUnavailable."""
        ...

    def close(self) -> None:
        """Leave the topic."""
        ...


class LetterSender(Protocol):
    """Sender of dead letters back to their topics."""

    def send(self, letters: list[DeadLetter]) -> list[RedrivenLetter]:
        """Send some back, in order. Raises BrokerUnavailable if the broker does not take one of them."""
        ...


class RedriveAttempt(NamedTuple):
    """A dead letter that was chosen: where its record stands now, or why it was left out.

    Both are empty where nothing was sent on purpose.
    """

    letter: DeadLetter
    to: SourcePosition | None = None
    objection: str = ""


class ChosenLetters:
    """Dead letters that are chosen, with what the topic says of earlier redrives. ``missing``: places without one."""

    def __init__(
        self, opened: Callable[[], DeadLetterLog], topics: Topics, prefix: str, wanted: Wanted, *, since_ms: int = 0
    ) -> None:
        """Read the topic: notes may be older than the letters that are meant. Raises BrokerUnavailable."""
        self._opened = opened
        self._history = History(topics)
        self._chosen: set[SourcePosition] = set()
        with closing(opened()) as topic:
            for found in topic.read():
                if isinstance(found, Redriven):
                    self._history.note(found)
                elif found.refused_at >= since_ms and wanted.takes(found, prefix):
                    self._chosen.add(found.place)
        self.missing = sorted(wanted.places - {(place.partition, place.offset) for place in self._chosen})

    @property
    def chosen(self) -> int:
        """Number of dead letters that were chosen."""
        return len(self._chosen)

    def attempts(
        self,
        sender: LetterSender | None,
        *,
        again: bool = False,
        objection: Callable[[DeadLetter], str] = lambda _: "",
        edited: Callable[[DeadLetter], DeadLetter] = lambda letter: letter,
        most: int | None = None,
    ) -> Iterator[RedriveAttempt]:
        """Send them back, some at a time, and yield the outcome of each, of ``most`` of them.

        ``sender`` None: nothing is sent. ``objection``: what else is against one, one sentence; ``edited``:
        what is sent in place of one without. Raises BrokerUnavailable.
        """
        with closing(self._opened()) as topic:
            letters = (each for each in topic.read() if isinstance(each, DeadLetter) and each.place in self._chosen)
            for some in _chunks(islice(letters, most)):
                objections = {
                    each.place: self._history.objection(each, again=again) or objection(each) for each in some
                }
                right = [edited(each) for each in some if not objections[each.place]]
                places = {done.letter.place: done.to for done in sender.send(right)} if sender and right else {}
                for each in some:
                    yield RedriveAttempt(each, places.get(each.place), objections[each.place])


def _chunks(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    source = iter(letters)
    while some := list(islice(source, _AT_ONCE)):
        yield some
