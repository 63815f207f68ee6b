"""The sender of a refused input, read as leniently as possible, so that the refusal can be answered."""

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.encoding import avro_schemas, input_models
from everwatch.model import (
    Asker,
    CommandType,
)


class _SignupAsker(msgspec.Struct, frozen=True):
    user_id: input_models.UserId
    signup_id: input_models.Name


class _CommandAsker(msgspec.Struct, frozen=True):
    command: CommandType
    user_id: input_models.UserId
    command_id: input_models.Name
    monitor_id: input_models.MonitorId = ""


class _SignalAsker(msgspec.Struct, frozen=True):
    user_id: input_models.UserId
    signal_id: input_models.Name
    monitor_id: input_models.MonitorId = ""


_ASKERS: dict[str, type[_SignupAsker | _CommandAsker | _SignalAsker]] = {
    "signup": _SignupAsker,
    "command": _CommandAsker,
    "signal": _SignalAsker,
}


def asker_of(name: str, data: bytes) -> Asker | None:
    """Return the sender that asks for an answer to a refused ``signup``, ``command`` or ``signal``; None if none does.

    Reads only what an answer takes, so that an input which is wrong elsewhere is answered too.
    """
    try:
        if data.startswith(avro_schemas.MAGIC):
            asked = msgspec.convert(avro_schemas.decode(name, data), type=_ASKERS[name])
        else:
            asked = msgspec.json.decode(data, type=_ASKERS[name])
    except (InvalidInput, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    match asked:
        case _SignupAsker():
            return Asker("signup", asked.user_id, signup_id=asked.signup_id)
        case _CommandAsker():
            return Asker(asked.command.value, asked.user_id, asked.monitor_id, asked.command_id)
        case _:
            return Asker("signal", asked.user_id, asked.monitor_id, signal_id=asked.signal_id)
