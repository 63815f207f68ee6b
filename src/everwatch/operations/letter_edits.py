"""Fields of refused records that are set or removed before the records are sent back in their encoding."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from everwatch.core.errors import InvalidInput, RegistryUnavailable
from everwatch.encoding import codec
from everwatch.encoding.editable_records import editable
from everwatch.encoding.field_paths import steps_of
from everwatch.kafka.dead_letter_content import schema_of
from everwatch.kafka.dead_letter_record import DeadLetter
from everwatch.kafka.topics import Topics

_KEY = "$.user_id"


class LetterEdits:
    """Changes of the fields at some paths, and what judges the changed record of a topic."""

    def __init__(self, topics: Topics, changed: Mapping[str, Any], removed: Sequence[str] = ()) -> None:
        self._topics = topics
        self._changed = changed
        self._removed = removed
        self._judges: dict[str, Callable[[bytes | None], object]] = {
            topics.signups: codec.decode_signup,
            topics.commands: codec.decode_command,
            topics.signals: codec.decode_signal,
        }

    def __bool__(self) -> bool:
        return bool(self._changed or self._removed)

    def objection(self, letter: DeadLetter) -> str:
        """Return the reason why a record cannot be changed so, or is wrong still; empty if there is none."""
        try:
            value = self.edited(letter).value
        except InvalidInput as error:
            return str(error)
        judge = self._judges.get(letter.source.topic) if letter.source else None
        if judge is None:
            return "only signups, commands and signals are changed."
        try:
            judge(value)
        except InvalidInput as error:
            return f"it is still wrong: {error.path or '$'}: {error.reason}"
        return ""

    def edited(self, letter: DeadLetter) -> DeadLetter:
        """Return a dead letter with its record changed. Raises InvalidInput."""
        if not self:
            return letter
        name = schema_of(letter.source.topic if letter.source else "", self._topics)
        try:
            found = editable(name, letter.value or b"")
        except InvalidInput as error:
            raise InvalidInput(f"its record cannot be decoded: {error.reason}", "") from None
        except RegistryUnavailable as error:
            raise InvalidInput(f"its record cannot be decoded now: {error}", "") from None
        record = found.document
        if not isinstance(record, dict):
            raise InvalidInput("its record is no object", "")
        for path in self._removed:
            holder, name = _place(record, path)
            if isinstance(holder, dict):
                holder.pop(name, None)
            elif name < len(holder):
                del holder[name]
        for path, value in self._changed.items():
            if path == _KEY and value != letter.user_id:
                raise InvalidInput("the user is the record's key: send a record of its own for another one", path)
            holder, name = _place(record, path)
            if isinstance(holder, list) and name >= len(holder):
                raise InvalidInput(f"its record has no field {path}", path)
            holder[name] = value
        return letter._replace(value=found.encoded(record))


def _place(record: dict[str, Any], path: str) -> tuple[Any, Any]:
    """Return what a path's last step is in, and that step. Raises InvalidInput where the record has no such place."""
    try:
        steps = steps_of(path)
    except ValueError:
        raise InvalidInput(f"{path} is no path of a field", path) from None
    holder: Any = record
    for step in steps[:-1]:
        holder = _inside(holder, step, path)
    wanted = list if isinstance(steps[-1], int) else dict
    if not isinstance(holder, wanted):
        raise InvalidInput(f"its record has no field {path}", path)
    return holder, steps[-1]


def _inside(holder: Any, step: str | int, path: str) -> Any:
    try:
        return holder[step]
    except (KeyError, IndexError, TypeError):
        raise InvalidInput(f"its record has no field {path}", path) from None
