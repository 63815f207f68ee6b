"""Records of the tick topics as ticks."""

from confluent_kafka import Message

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.model import Tick


def tick_of(message: Message) -> Tick:
    """The tick of a record. Raises InvalidInput, whatever is wrong with it."""
    try:
        return codec.decode_tick(
            bytes_of(message.key()), bytes_of(message.value()), message.timestamp()[1], message.partition() or 0
        )
    except InvalidInput:
        raise
    except Exception as error:  # one record that a decoder stumbles over must not stop all others
        raise InvalidInput(f"not a tick: {type(error).__name__}: {error}") from error


def bytes_of(data: str | bytes | None) -> bytes | None:
    """A key or value as it is on the topic."""
    return data.encode() if isinstance(data, str) else data
