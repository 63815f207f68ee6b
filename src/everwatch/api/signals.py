"""Signals and pings: what jobs say of themselves. They take no database, so they go on while it is unavailable."""

from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import Meta

from everwatch.api.bodies import SignalsBody
from everwatch.api.commanding import Commands
from everwatch.api.permissions import Principal
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import Problem, not_found, refused, unavailable
from everwatch.api.routing import Answer, Call
from everwatch.api.views import Accepted, PingKeyView
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, InvalidInput, RefusalCode
from everwatch.core.printable import printable
from everwatch.encoding.input_conversion import signal_of
from everwatch.encoding.input_models import LONGEST_SIGNAL_BODY, RunId, SignalInput, parse_object
from everwatch.kafka.command_client import Asked, asked_of
from everwatch.model import Asker, Signal
from everwatch.model import CommandOutcome as Outcomes

PING_BODY_LIMIT = 100_000
CREATE_WITHIN_S = 5.0


class PingQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``rid``: which run it is about. ``create=1``: put the heartbeat monitor first if there is none.

    ``period`` and ``grace``: of the monitor that is put.
    """

    rid: RunId = ""
    create: Annotated[int, Meta(ge=0, le=1)] = 0
    period: Annotated[str, Meta(max_length=64)] = "1d"
    grace: Annotated[str, Meta(max_length=64)] = "1h"


class Signals:
    """Handlers of ``/v1/signals`` and ``/ping``."""

    def __init__(self, commands: Commands, keys: PingKeys, clock: Clock) -> None:
        self._commands = commands
        self._keys = keys
        self._clock = clock

    async def post(self, call: Call, body: SignalsBody) -> Answer:
        """Send signals of jobs, and values."""
        now = self._clock.now_ms()
        asked = []
        for index, each in enumerate(body.signals):
            _check_user(call.principal, each.user_id, index)
            value = msgspec.to_builtins(each)
            if not each.at:
                value["at"] = now
            signal = signal_at(value, f"$.signals[{index}]")
            asked.append(Asked(Asker.of(signal), msgspec.json.encode(value)))
        await self._commands.send(asked)
        return Answer(Accepted(len(asked)), 202)

    async def key(self, call: Call) -> Answer:
        """Show the key of a user's ping URLs."""
        user_id = call.path["user_id"]
        if self._keys.is_empty:
            raise unavailable("no_ping_secret", "There is no secret for ping keys yet.")
        key = self._keys.key_of(user_id)
        return Answer(PingKeyView(user_id, key, f"/ping/{key}/MONITOR"))

    async def ping(self, call: Call, query: PingQuery, body: bytes) -> Answer:
        user_id, monitor_id = self._named(call.path["key"], call.path["slug"])
        value: dict[str, object] = {"user_id": user_id, "monitor_id": monitor_id, "at": self._clock.now_ms()}
        _add_what(value, call.path.get("what", ""))
        if said := printable(body[: 4 * LONGEST_SIGNAL_BODY].decode(errors="replace"))[:LONGEST_SIGNAL_BODY]:
            value["body"] = said
        elif value.get("type") == "log":
            raise Problem(400, "empty", "Send what is to be kept as the body.")
        if query.rid:
            value["run"] = query.rid
        created = bool(query.create) and await self._created(user_id, monitor_id, query)
        await self._commands.send([Asked(Asker("signal", user_id, monitor_id), msgspec.json.encode(value))])
        return Answer(b"OK", 201 if created else 200, {"Cache-Control": "no-store"}, "text/plain")

    def _named(self, key: str, slug: str) -> tuple[str, str]:
        """The user and the monitor of a ping URL. Raises Problem."""
        user_id = self._keys.user_of(key)
        if user_id is None:
            raise not_found("such ping URL")
        signal_at({"user_id": user_id, "monitor_id": slug}, "$")
        return user_id, slug

    async def _created(self, user_id: str, monitor_id: str, query: PingQuery) -> bool:
        """Put the monitor of a ping, unless there is one; tells whether it was put. Raises Problem."""
        config = {"period": query.period, "grace": query.grace}
        wanted = {
            "command": "put",
            "user_id": user_id,
            "monitor_id": monitor_id,
            "monitor": {"kind": "heartbeat", "config": config},
            "if_version": 0,
            "command_id": uuid4().hex,
        }
        [reply] = await self._commands.ask([asked_of(wanted)], CREATE_WITHIN_S)
        if isinstance(reply, EverwatchError):
            raise reply
        if reply is None:
            raise unavailable("no_answer", f"No worker answered within {CREATE_WITHIN_S:g} s: send the ping again.")
        if reply.answer is Outcomes.REFUSED and reply.code != RefusalCode.VERSION_MISMATCH:
            raise refused(reply)
        return reply.answer is not Outcomes.REFUSED


def _add_what(value: dict[str, object], what: str) -> None:
    """Add what the last segment of a ping URL says: start, fail, log, or an exit code. Raises Problem."""
    if not what:
        return
    if what in ("start", "fail", "log"):
        value["type"] = what
    elif what.isascii() and what.isdigit() and len(what) <= 3 and int(what) <= 255:
        if int(what):
            value["exit_code"] = int(what)
    else:
        raise not_found("such ping URL: it ends with the monitor, /start, /fail, /log or an exit code from 0 to 255")


def signal_at(value: dict[str, object], path: str) -> Signal:
    """Return the signal that a value means; ``path``: where it stands in the body. Raises InvalidInput."""
    try:
        return signal_of(parse_object(value, SignalInput))
    except InvalidInput as error:
        raise InvalidInput(error.reason, path + error.path.removeprefix("$"), error.code) from None


def _check_user(principal: Principal, user_id: str, index: int) -> None:
    if principal.user_id and user_id != principal.user_id:
        raise Problem(403, "forbidden", f"The token may not do this: $.signals[{index}] is of another user.")
