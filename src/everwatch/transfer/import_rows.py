"""Rows of a source as inputs: a signup, or a monitor put by command. Pure.

A row is not judged here but at admission; only what never becomes an event is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import orjson

from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.rules.admission import admit_signup
from everwatch.transfer import shorthand

ATTRIBUTES = "attributes."
FIELDS = ("user_id", "plan", "attributes", "monitors", "maintenance", "monitor")
# an id that is a number in a database is text here
_IDS = (int, UUID, Decimal)
_LONGEST_REMEMBERED = 4_096


class Row(NamedTuple):
    """A row as an event: its place, its user, the record's value; or the fault.

    ``monitor_id`` is empty for a signup; otherwise ``value`` is a command.
    """

    line: int
    user_id: str
    monitor_id: str
    value: bytes
    problem: str = ""


@dataclass(frozen=True)
class RowReading:
    """Reading of a source's rows: renamed columns, columns left out, and defaults of users.

    ``has_shorthand``: the columns http, tcp and every of a table stand for monitors.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    plan: str = ""
    monitors: bytes = b""
    has_shorthand: bool = False

    def field_of(self, column: str) -> str:
        """The field that a column is; empty if it is left out."""
        return "" if column in self.ignored else self.renamed.get(column, column)

    @property
    def changes_nothing(self) -> bool:
        """Tell whether rows are taken as they are."""
        return not (self.renamed or self.ignored or self.plan or self.monitors)


class Columns:
    """Columns of a table, by purpose."""

    def __init__(self, names: Sequence[str], reading: RowReading, where: str) -> None:
        """Raise SettingsError if no column is the user_id, or two are the same field."""
        self._width = len(names)
        self._reading = reading
        self._at: dict[str, int] = {}
        self._attributes: list[tuple[int, str]] = []
        seen: set[str] = set()
        for number, column in enumerate(names):
            name = reading.field_of(column)
            if not name:
                continue
            if reading.has_shorthand and name in shorthand.COLUMNS:
                self._at[name] = number
            elif name not in FIELDS:
                name = ATTRIBUTES + name.removeprefix(ATTRIBUTES)
                self._attributes.append((number, name.removeprefix(ATTRIBUTES)))
            else:
                self._at[name] = number
            if name in seen:
                raise SettingsError(f"Two columns of {where} are {name}: leave one out with --ignore COLUMN.")
            seen.add(name)
        if unknown := [column for column in chain(reading.renamed, reading.ignored) if column not in names]:
            raise SettingsError(f"{where} has no column {unknown[0]!r}; it has {', '.join(names)}.")
        if "user_id" not in self._at:
            raise SettingsError(
                f"{where} has no column user_id but {', '.join(names) or 'none at all'}: name the one that is"
                f" with{' everwatch import and' if reading.has_shorthand else ''} --map COLUMN=user_id."
            )
        self._user_id = self._at["user_id"]

    def row(self, line: int, cells: Sequence[Any]) -> Row:
        """The row of these cells; None and empty text are absent."""
        if len(cells) != self._width:
            return Row(line, "", "", b"", f"the row has {len(cells)} cells, and there are {self._width} columns")
        try:
            user_id = cells[self._user_id]
            if not isinstance(user_id, str):
                user_id = _id_of(user_id)
            if self._cell(cells, "monitor") is not None:
                return self._monitor_row(line, user_id, cells)
            return Row(line, user_id, "", encoded(self._signup(user_id, cells)))
        except InvalidInput as error:
            return Row(line, "", "", b"", str(error))

    def _cell(self, cells: Sequence[Any], name: str) -> Any:
        at = self._at.get(name)
        value = None if at is None else cells[at]
        return None if value == "" else value

    def _signup(self, user_id: str, cells: Sequence[Any]) -> dict[str, Any]:
        reading = self._reading
        signup: dict[str, Any] = {"user_id": user_id}
        if (plan := self._cell(cells, "plan")) is not None or (plan := reading.plan):
            signup["plan"] = plan if isinstance(plan, str) else _id_of(plan, "plan")
        attributes: dict[str, Any] = {}
        if (given := self._cell(cells, "attributes")) is not None:
            attributes = orjson.loads(_json(given, "attributes")) if isinstance(given, str) else given
            if not isinstance(attributes, dict):
                raise InvalidInput("this is not an object", "$.attributes")
        for at, name in self._attributes:
            value = cells[at]
            if value is not None and value != "":
                attributes[name] = value
        if attributes:
            signup["attributes"] = attributes
        if (monitors := self._cell(cells, "monitors")) is not None:
            signup["monitors"] = _cell_of_json(monitors, "monitors")
        elif reading.has_shorthand:
            signup["monitors"] = self._in_shorthand(cells)
        elif reading.monitors:
            signup["monitors"] = orjson.Fragment(reading.monitors)
        if (maintenance := self._cell(cells, "maintenance")) is not None:
            signup["maintenance"] = _cell_of_json(maintenance, "maintenance")
        return signup

    def _in_shorthand(self, cells: Sequence[Any]) -> list[dict[str, Any]]:
        http, tcp, every = (self._cell(cells, name) for name in shorthand.COLUMNS)
        schedule = {} if every is None else {"every": every}
        return shorthand.monitors_of([] if http is None else [http], [] if tcp is None else [tcp], None, schedule)

    def _monitor_row(self, line: int, user_id: str, cells: Sequence[Any]) -> Row:
        others = [name for name in ("plan", "attributes", "monitors", "maintenance") if self._cell(cells, name)]
        others += [ATTRIBUTES + name for at, name in self._attributes if cells[at] not in (None, "")]
        if others:
            raise InvalidInput("a row with a monitor holds nothing else but its user_id", f"$.{others[0]}")
        given = self._cell(cells, "monitor")
        return _put(line, user_id, orjson.loads(_json(given, "monitor")) if isinstance(given, str) else given)


class _Who(msgspec.Struct):
    user_id: str


_who = msgspec.json.Decoder(_Who).decode


class Objects:
    """Objects of a file of JSON lines: signups as they are on the topic, or monitors of a user."""

    def __init__(self, reading: RowReading) -> None:
        self._reading = reading

    def row(self, line: int, value: bytes) -> Row:
        """The row of a line."""
        try:
            if self._reading.changes_nothing and b'"monitor"' not in value:
                return Row(line, _who(value).user_id, "", value)
            return self._looked_into(line, value)
        except InvalidInput as error:
            return Row(line, "", "", b"", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Row(line, "", "", b"", _reason(value))

    def _looked_into(self, line: int, value: bytes) -> Row:
        try:
            given = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise InvalidInput(_reason(value)) from None
        if not isinstance(given, dict):
            raise InvalidInput("this is not an object")
        row = self._renamed(given)
        user_id = row.get("user_id")
        if "monitor" in row:
            if others := [name for name in row if name not in ("user_id", "monitor")]:
                raise InvalidInput("a row with a monitor holds nothing else but its user_id", f"$.{others[0]}")
            return _put(line, user_id, row["monitor"])
        reading = self._reading
        if reading.plan:
            row.setdefault("plan", reading.plan)
        if reading.monitors and "monitors" not in row:
            row["monitors"] = orjson.Fragment(reading.monitors)
        return Row(line, user_id if isinstance(user_id, str) else "", "", encoded(row))

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        for column, value in given.items():
            name = self._reading.field_of(column)
            taken, key = (attributes, name.removeprefix(ATTRIBUTES)) if name.startswith(ATTRIBUTES) else (row, name)
            if key in taken:
                raise InvalidInput(f"two fields of the line are {name}", f"$.{name}")
            if key:
                taken[key] = value
        if attributes:
            own = row.get("attributes", {})
            row["attributes"] = own | attributes if isinstance(own, dict) else own
        return row


def encoded(value: Any) -> bytes:
    """JSON of a row; dates become ISO text, decimals numbers. Raises InvalidInput for what JSON has no word for."""
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError as error:
        # the error that ``default`` raised stands behind it, and says more
        raise InvalidInput(_unwritable(error.__cause__ or error)) from None


def _put(line: int, user_id: Any, monitor: Any) -> Row:
    value = encoded({"command": "put", "user_id": user_id, "monitor": monitor})
    monitor_id = (monitor.get("monitor_id") or monitor.get("kind", "http")) if isinstance(monitor, dict) else ""
    known = isinstance(user_id, str) and isinstance(monitor_id, str)
    # a value that is not text here is refused at admission, which sees each monitor
    return Row(line, user_id if known else "", monitor_id if known and monitor_id else "?", value)


def _reason(value: bytes) -> str:
    try:
        admit_signup(value)
    except InvalidInput as error:
        return str(error)
    return "not a signup"


def _id_of(value: Any, name: str = "user_id") -> str:
    if value is None:
        return ""
    if isinstance(value, _IDS) and not isinstance(value, bool):
        return str(value)
    raise InvalidInput(f"a {type(value).__name__} is no id", f"$.{name}")


def _cell_of_json(given: Any, name: str) -> Any:
    return orjson.Fragment(_json(given, name)) if isinstance(given, str) else given


def _json(text: str, name: str) -> bytes:
    check: Callable[[str, str], bytes] = _checked if len(text) <= _LONGEST_REMEMBERED else _checked.__wrapped__
    return check(text, name)


@lru_cache(maxsize=4_096)
def _checked(text: str, name: str) -> bytes:
    """``text`` as bytes, if it is one JSON value: as part of a row it must not say more than its own field."""
    try:
        data = text.encode()
        orjson.loads(data)
    except UnicodeEncodeError:
        raise InvalidInput(_NO_TEXT, f"$.{name}") from None
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not valid JSON: {error}", f"$.{name}") from None
    return data


_NO_TEXT = "this is not text in the encoding of the file (see --encoding)"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"a {type(value).__name__} cannot be kept: select it as text or as a number")


def _unwritable(error: BaseException) -> str:
    reason = str(error)
    if "surrogates" in reason:
        return _NO_TEXT
    return reason[:1].lower() + reason[1:]
