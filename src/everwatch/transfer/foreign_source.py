"""Monitors that another product exported, as one signup, and a report of what had no counterpart."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.core.printable import printable
from everwatch.encoding import input_conversion, input_models
from everwatch.rules.admission import admit_monitor
from everwatch.transfer.import_rows import Row
from everwatch.transfer.row_files import FileSource

LONGEST_ID = 128


class Lost(NamedTuple):
    """A part of a monitor without counterpart: its name there (empty: the whole export), and a sentence.

    ``is_left_out``: the monitor itself was not taken over.
    """

    monitor: str
    what: str
    is_left_out: bool = False


@dataclass
class Found:
    """One monitor of an export, as a signup names it; ``monitor`` None: it has no counterpart. ``lost``: sentences."""

    name: str
    monitor: dict[str, Any] | None = None
    lost: list[str] = field(default_factory=list)


Convert = Callable[[Any, list[Lost]], Iterable[Found]]
"""The monitors of a document; what concerns all of it is added to the list. Raises InvalidInput if it is none."""


@dataclass
class ForeignSource:
    """A file of another product as one row: a signup of ``user_id`` with all monitors that have a counterpart.

    ``lost`` is filled as the row is read.
    """

    file: FileSource
    convert: Convert
    user_id: str
    plan: str = ""
    lost: list[Lost] = field(default_factory=list)
    monitors: int = 0

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def position(self) -> int:
        return self.file.position

    @property
    def size(self) -> int:
        return self.file.size

    def rows(self) -> Iterator[Row]:
        """The signup. Raises SettingsError if the file cannot be read, or is no such export."""
        self.lost.clear()
        data = self.file.document()
        try:
            document = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError as error:
            raise SettingsError(f"{self.name} is not valid JSON: {error}.") from None
        try:
            monitors = self._monitors(document)
        except InvalidInput as error:
            raise SettingsError(f"{self.name}: {error.reason}.") from None
        self.monitors = len(monitors)
        signup: dict[str, Any] = {"user_id": self.user_id, "monitors": monitors}
        if self.plan:
            signup["plan"] = self.plan
        yield Row(1, self.user_id, "", orjson.dumps(signup))

    def _monitors(self, document: Any) -> list[dict[str, Any]]:
        monitors: list[dict[str, Any]] = []
        taken: set[str] = set()
        for found in self.convert(document, self.lost):
            monitor = found.monitor
            if monitor is not None:
                monitor = {"monitor_id": _id_of(found.name, taken)} | monitor
                try:
                    _check(monitor)
                except InvalidInput as error:
                    found.lost = [f"Everwatch refuses it: {error}"]
                    monitor = None
            self.lost += [Lost(found.name, what, monitor is None) for what in found.lost]
            if monitor is not None:
                taken.add(monitor["monitor_id"])
                monitors.append(monitor)
        return monitors


def text_of(given: dict[str, Any], name: str) -> str:
    """A field that is a text, without space around it; empty if it is none."""
    value = given.get(name)
    return value.strip() if isinstance(value, str) else ""


def number_of(given: dict[str, Any], name: str) -> float:
    """A field that is a number, or a text of one; 0 if it is none, or negative."""
    value = given.get(name)
    try:
        number = float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return 0.0
    return number if 0 < number < 1e12 else 0.0


def seconds(number: float) -> str:
    """A duration as a schedule or policy names it."""
    return f"{number:g}s" if number < 1e6 else f"{int(number)}s"


def _check(monitor: dict[str, Any]) -> None:
    admit_monitor(input_conversion.monitor_of(input_models.parse_object(monitor, input_models.MonitorInput), "$"), "$")


def _id_of(name: str, taken: set[str]) -> str:
    """A monitor's id from its name: readable in a shell, and not taken."""
    base = re.sub(r"[^\w.-]+", "-", printable(name)).strip("-")[: LONGEST_ID - 8] or "monitor"
    made, number = base, 1
    while made in taken:
        number += 1
        made = f"{base}-{number}"
    return made
