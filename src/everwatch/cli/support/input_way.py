"""The way of a command's inputs to the workers and back: what every such way does, and how it is to be used."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from everwatch.core.config import Settings

if TYPE_CHECKING:
    from everwatch.kafka.command_client import Asked
    from everwatch.model import Reply


class SendingOptions(NamedTuple):
    """Settings for sending inputs: the broker, and whether and how long to wait for an answer."""

    settings: Settings
    wait: bool
    timeout_s: float
    as_json: bool


class InputWay(Protocol):
    """A way to the workers and, if answers are waited for, back. ``delivered``: inputs that are kept on Kafka."""

    @property
    def delivered(self) -> int: ...

    def send(self, inputs: "Iterable[Asked]") -> None:
        """Send inputs, durably."""
        ...

    def ask(self, inputs: "Iterable[Asked]") -> "Iterator[tuple[Asked, Reply]]":
        """Send inputs and give their answers."""
        ...
