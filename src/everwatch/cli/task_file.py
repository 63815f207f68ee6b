"""Delayed tasks out of a file of JSON lines, a few or a million."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from everwatch.cli.commanding import Delivery, connected
from everwatch.cli.progress import MOST_REASONS_SHOWN, file_bar, tell_refused
from everwatch.clock import Clock, SystemClock
from everwatch.errors import InvalidInput, SettingsError
from everwatch.kafka.asking import Asked, asked_of
from everwatch.model import Answer, Reply
from everwatch.wire import Name, UserId, parse_json

MOST_REASONS_KEPT = 1_000
LINES_BETWEEN_LOOKS = 1_000


class TaskLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """One line of a file of tasks; what it does not judge is judged with the command that it becomes."""

    user_id: UserId
    task_id: Name
    at: Any = None
    in_: Any = None
    kind: Any = "noop"
    config: Any = {}
    payload: Any = None
    policy: Any = {}
    command_id: Any = ""


class Tally:
    """What has become of the lines of a file. Of the reasons why lines were refused it keeps the first thousand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.sent = 0
        self.refused = 0
        self.reasons: list[tuple[int, str]] = []
        self.answers: Counter[str] = Counter()

    @property
    def seconds(self) -> float:
        return self._clock.monotonic_s() - self._began_s

    def refuse(self, line: int, error: InvalidInput) -> None:
        """Note a line that is no task, or that a worker refused."""
        self.refused += 1
        if len(self.reasons) < MOST_REASONS_KEPT:
            self.reasons.append((line, str(InvalidInput(error.reason, _path_in_line(error.path)))))

    def note(self, asked: Asked, reply: Reply) -> None:
        """Note the answer to a line's command."""
        self.answers[reply.answer.value] += 1
        if reply.answer is Answer.REFUSED:
            self.refuse(asked.line, InvalidInput(reply.reason, reply.path))

    def report(self, console: Console, as_json: bool) -> None:
        """Print it."""
        rate = f"{self.seconds:.1f} s, {self.sent / max(self.seconds, 0.001):.0f} a second"
        if as_json:
            reasons = [{"line": number, "reason": reason} for number, reason in self.reasons]
            told = {"sent": self.sent, "refused": self.refused, "reasons": reasons, "answers": self.answers}
            typer.echo(orjson.dumps({**told, "seconds": round(self.seconds, 3)}).decode())
            return
        others = f"… and {self.refused - MOST_REASONS_SHOWN} more (--json lists {MOST_REASONS_KEPT})"
        for number, (line, reason) in enumerate(self.reasons, 1):
            tell_refused(console, number, f"line {line}: {reason}", others)
        answers = "".join(f", {number} {answer}" for answer, number in self.answers.items() if answer != Answer.REFUSED)
        typer.echo(f"{self.sent} sent, {self.refused} refused{answers} ({rate})")


def create_all(file: Path, delivery: Delivery) -> None:
    """Create the tasks of a file's lines and report; exits with 1 if lines were refused.

    Raises SettingsError, BrokerUnavailable, TopicMismatch, Unanswered.
    """
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from None
    console = Console(stderr=True)
    tally = Tally(SystemClock())
    try:
        with file_bar(console) as bar:
            commands = _commands(file, tally, _follow(bar, size, tally))
            first = next(commands, None)
            if first is not None:
                _send_all(chain([first], commands), tally, delivery)
    finally:
        # an import that was cut short says how far it came
        tally.report(console, delivery.as_json)
    if tally.refused:
        raise typer.Exit(1)


def _send_all(commands: Iterator[Asked], tally: Tally, delivery: Delivery) -> None:
    with connected(delivery) as link:
        try:
            if delivery.wait:
                for asked, reply in link.ask(commands):
                    tally.note(asked, reply)
            else:
                link.tell(commands)
        finally:
            tally.sent = link.delivered


def _commands(file: Path, tally: Tally, look: Callable[[int, int], None]) -> Iterator[Asked]:
    """The commands of a file's lines; what is refused is tallied, and ``look`` sees how many lines and bytes are read.

    Raises SettingsError.
    """
    read = 0
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                read += len(line)
                if number % LINES_BETWEEN_LOOKS == 0:
                    look(number, read)
                if not line.strip():
                    continue
                try:
                    command = asked_of(_put_of(line), number)
                except InvalidInput as error:
                    tally.refuse(number, error)
                else:
                    yield command
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> SettingsError:
    return SettingsError(f"The file {file} cannot be read: {error.strerror}.")


def _put_of(line: bytes) -> dict[str, Any]:
    """The command that puts the task of a line. Raises InvalidInput."""
    task = parse_json(line, TaskLine)
    if (task.at is None) == (task.in_ is None):
        raise InvalidInput("a task needs at or in" if task.at is None else "a task is due at or in, not both")
    return {
        "command": "put",
        "user_id": task.user_id,
        "monitor_id": task.task_id,
        "command_id": task.command_id,
        "monitor": {
            "kind": task.kind,
            "config": task.config,
            "schedule": {"in": task.in_} if task.at is None else {"at": task.at},
            "policy": task.policy,
            "payload": task.payload,
        },
    }


def _path_in_line(path: str) -> str:
    """A field of a command, by the name that it has in a line."""
    for inside, outside in {"$.monitor_id": "$.task_id", "$.monitor.schedule": "$", "$.monitor": "$"}.items():
        if path == inside or path.startswith((f"{inside}.", f"{inside}[")):
            return outside + path.removeprefix(inside)
    return path


def _follow(bar: Progress, size: int, tally: Tally) -> Callable[[int, int], None]:
    """What moves the bar as a file of ``size`` bytes is read; a pipe has none."""
    shown = bar.add_task("Creating", total=size or None, told="")

    def look(lines: int, read: int) -> None:
        bar.update(shown, completed=read, told=f"{lines} tasks, {lines / max(tally.seconds, 0.001):.0f} a second")

    return look
