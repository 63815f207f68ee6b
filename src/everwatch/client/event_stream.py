"""Server-sent events of ``/v1/live`` as values. Pure."""

from typing import Literal, NamedTuple

import msgspec

from everwatch.client.errors import unknown_answer
from everwatch.model import Result, Transition


class LiveEvent(NamedTuple):
    """One event: a result or a transition as it came, or how many events were dropped.

    ``dropped``: how many events, at most, did not come, because there were more than 50 a second, or too many while
    there was no connection.
    """

    kind: Literal["result", "transition", "dropped"]
    result: Result | None = None
    transition: Transition | None = None
    dropped: int = 0


class _Dropped(msgspec.Struct):
    dropped: int


_TYPES = {"result": Result, "transition": Transition, "dropped": _Dropped}


class EventParser:
    """Puts lines of a stream together (WHATWG HTML, 9.2.6). ``last_event_id``: where to go on after a break."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self._id = last_event_id
        self._name = ""
        self._data: list[bytes] = []

    def begin(self) -> None:
        """Begin another stream: what the last one left incomplete comes again."""
        self._id, self._name, self._data = self.last_event_id, "", []

    def take(self, line: bytes) -> LiveEvent | None:
        """Take a line without its end; give the event that it completes, if it is of a known kind. Raises ApiError."""
        if not line:
            return self._completed()
        if line.startswith(b":"):
            return None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"event":
                self._name = value.decode()
            case b"data":
                self._data.append(value)
            case b"id":
                self._id = value.decode()
        return None

    def _completed(self) -> LiveEvent | None:
        name, data = self._name, b"\n".join(self._data)
        self._name, self._data = "", []
        self.last_event_id = self._id
        # a later version may send events of other kinds
        if not data or name not in _TYPES:
            return None
        try:
            value = msgspec.json.decode(data, type=_TYPES[name])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise unknown_answer(200, error) from None
        match value:
            case Result():
                return LiveEvent("result", result=value)
            case Transition():
                return LiveEvent("transition", transition=value)
            case _:
                return LiveEvent("dropped", dropped=value.dropped)
