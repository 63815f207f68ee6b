"""Inputs out of a file, a few or a million: sent as they are read, their answers counted, the refused ones listed."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple, Protocol

import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from everwatch.cli.support.input_way import SendingOptions
from everwatch.cli.support.progress_bar import MOST_REASONS_SHOWN, file_bar, print_refused
from everwatch.cli.support.sending import connected
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kafka.command_client import Asked
from everwatch.model import CommandOutcome, Reply

MOST_REASONS_KEPT = 1_000
LINES_BETWEEN_LOOKS = 1_000


class InputSource(Protocol):
    """The file; ``position`` of ``size`` bytes are read, ``size`` 0 for a pipe."""

    @property
    def position(self) -> int: ...

    @property
    def size(self) -> int: ...


class Refusal(NamedTuple):
    """A line that was refused, here or by a worker."""

    line: int
    error: InvalidInput


class LineTally:
    """Counts of the lines of a file. Of the reasons why lines were refused it keeps the first thousand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.sent = 0
        self.refused = 0
        self.refusals: list[Refusal] = []
        self.answers: Counter[str] = Counter()

    @property
    def seconds(self) -> float:
        return self._clock.monotonic_s() - self._began_s

    def refuse(self, line: int, error: InvalidInput) -> None:
        """Count a line that is wrong, or that a worker refused."""
        self.refused += 1
        if len(self.refusals) < MOST_REASONS_KEPT:
            self.refusals.append(Refusal(line, error))

    def note(self, asked: Asked, reply: Reply, path_in_line: Callable[[str], str]) -> None:
        """Count the answer to a line's input."""
        self.answers[reply.answer.value] += 1
        if reply.answer is CommandOutcome.REFUSED:
            self.refuse(asked.line, InvalidInput(reply.reason, path_in_line(reply.path), reply.code))

    def report(self, console: Console, as_json: bool) -> None:
        """Print it."""
        rate = f"{self.seconds:.1f} s, {self.sent / max(self.seconds, 0.001):.0f} a second"
        if as_json:
            reasons = [
                {"line": line, "reason": str(error), "path": error.path, "code": error.code}
                for line, error in self.refusals
            ]
            told = {"sent": self.sent, "refused": self.refused, "reasons": reasons, "answers": self.answers}
            typer.echo(orjson.dumps({**told, "seconds": round(self.seconds, 3)}).decode())
            return
        others = f"… and {self.refused - MOST_REASONS_SHOWN} more (--json lists {MOST_REASONS_KEPT})"
        for number, (line, error) in enumerate(self.refusals, 1):
            print_refused(console, number, f"line {line}: {error}", others)
        answers = "".join(
            f", {number} {answer}" for answer, number in self.answers.items() if answer != CommandOutcome.REFUSED
        )
        typer.echo(f"{self.sent} sent, {self.refused} refused{answers} ({rate})")


Made = tuple[int, Asked | InvalidInput]
"""The number of a line, and the input that it is or why it is none."""


def send_file(
    source: InputSource,
    made: Iterator[Made],
    delivery: SendingOptions,
    action: str,
    path_in_line: Callable[[str], str] = str,
) -> None:
    """Send the inputs of a file's lines and report; exits with 1 if lines were refused.

    ``action``: what the progress bar says; ``path_in_line``: a field of an input, by its name in a line.
    Raises SettingsError, BrokerUnavailable, TopicMismatch, Unanswered.
    """
    console = Console(stderr=True)
    tally = LineTally(SystemClock())
    try:
        with file_bar(console) as bar:
            inputs = _right(made, tally, _follow(bar, action, source, tally))
            first = next(inputs, None)
            if first is not None:
                _send_all(first, inputs, tally, delivery, path_in_line)
    except BaseException as error:
        # what was cut short says how far it came; a file that cannot be opened did not begin
        if tally.sent or tally.refused or not isinstance(error, SettingsError):
            tally.report(console, delivery.as_json)
        raise
    tally.report(console, delivery.as_json)
    if tally.refused:
        raise typer.Exit(1)


def _send_all(
    first: Asked,
    others: Iterator[Asked],
    tally: LineTally,
    delivery: SendingOptions,
    path_in_line: Callable[[str], str],
) -> None:
    with connected(delivery, first) as link:
        inputs = chain([first], others)
        try:
            if delivery.wait:
                for asked, reply in link.ask(inputs):
                    tally.note(asked, reply, path_in_line)
            else:
                link.send(inputs)
        finally:
            tally.sent = link.delivered


def _right(made: Iterator[Made], tally: LineTally, look: Callable[[int], None]) -> Iterator[Asked]:
    """The inputs that are right; the others are tallied, and ``look`` sees how many lines are read."""
    for count, (line, each) in enumerate(made, 1):
        if count % LINES_BETWEEN_LOOKS == 0:
            look(count)
        if isinstance(each, InvalidInput):
            tally.refuse(line, each)
        else:
            yield each


def _follow(bar: Progress, action: str, source: InputSource, tally: LineTally) -> Callable[[int], None]:
    """Return the callback that moves the bar as a file is read."""
    shown = bar.add_task(action, total=None, told="")

    def look(lines: int) -> None:
        told = f"{lines} lines, {lines / max(tally.seconds, 0.001):.0f} a second"
        bar.update(shown, total=source.size or None, completed=source.position, told=told)

    return look
