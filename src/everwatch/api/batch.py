"""Many commands in one request: lines of JSON in, a line of JSON out for each."""

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

from everwatch.api.auditing import ACCEPTED
from everwatch.api.commanding import Commands
from everwatch.api.permissions import Principal, Scope
from everwatch.api.problems import Problem, invalid, refused
from everwatch.api.rendering import outcome
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import wait_of
from everwatch.api.views import LineOutcome, OutcomeView
from everwatch.core.errors import EverwatchError, InvalidInput, RecordRefused
from everwatch.kafka.command_client import Asked, asked_of, signal_asked, signup_asked
from everwatch.model import CommandOutcome as Outcomes
from everwatch.model import CommandType, Reply

MOST_LINES = 10_000
BODY_LIMIT = 32 * 1024 * 1024
# lines between two turns of the event loop
_AT_ONCE = 100
NDJSON = "application/x-ndjson"
_FOR_ADMINS = frozenset({CommandType.PURGE, CommandType.REENCRYPT_USER})


class Batches:
    """Handler of ``/v1/batch``."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def post(self, call: Call, data: bytes) -> Answer:
        lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
        if not lines:
            raise Problem(400, "empty", "Send one command a line, as on the topic commands.")
        if len(lines) > MOST_LINES:
            raise Problem(413, "too_many", f"These are {len(lines)} commands: send at most {MOST_LINES} at once.")
        outcomes: dict[int, LineOutcome] = {}
        asked: list[Asked] = []
        for index, (number, line) in enumerate(lines):
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                asked.append(line_asked(line, number, call.principal))
            except InvalidInput as error:
                outcomes[number] = line_failure(number, invalid(error), error.path)
            except Problem as problem:
                outcomes[number] = line_failure(number, problem)
        replies = await self._commands.ask(asked, wait_of(call)) if asked else []
        for each, reply in zip(asked, replies, strict=True):
            outcomes[each.line] = line_outcome(each, reply)
        body = b"".join(msgspec.json.encode(outcomes[number]) + b"\n" for number, _ in lines)
        changes = [line_change(each, outcomes[each.line]) for each in asked if each.asker.command != "signal"]
        return Answer(body, 207, media_type=NDJSON, changes=changes)


def line_asked(line: bytes, number: int, principal: Principal) -> Asked:
    """Return the input in a line. Raises InvalidInput, and Problem where the token does not permit it."""
    try:
        wanted: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not valid JSON: {error}") from None
    if not isinstance(wanted, dict):
        raise InvalidInput("a command is a JSON object")
    wanted.pop("reply", None)
    match wanted.get("command"):
        case "signup":
            signup_id = _id_of(wanted, "signup_id")
            asked = signup_asked(_named(wanted), signup_id=signup_id, ask=True, line=number)
        case "signal":
            signal_id = _id_of(wanted, "signal_id")
            asked = signal_asked(_named(wanted), signal_id=signal_id, ask=True)._replace(line=number)
        case _:
            asked = asked_of(wanted, number)
    if principal.user_id and asked.asker.user_id != principal.user_id:
        raise Problem(403, "forbidden", "the token is limited to another user")
    states_plan = asked.asker.command == "signup" or wanted.get("plan") is not None
    if states_plan and (objection := principal.plan_objection):
        raise Problem(403, "forbidden", objection)
    if asked.asker.command in _FOR_ADMINS and not principal.has(Scope.ADMIN):
        raise Problem(403, "forbidden", f"{asked.asker.command} takes the scope 'admin'")
    return asked


def _id_of(wanted: dict[str, Any], name: str) -> str:
    """The id that a line gives its signup or signal, taken out of it; "" for a new one. Raises InvalidInput."""
    given = wanted.pop(name, "")
    if not isinstance(given, str):
        raise InvalidInput("an id is a text", f"$.{name}")
    return given


def _named(wanted: dict[str, Any]) -> bytes:
    """A signup or signal as JSON, without what says that it is one. Raises InvalidInput."""
    del wanted["command"]
    try:
        return orjson.dumps(wanted)
    except orjson.JSONEncodeError as error:  # orjson reads deeper arrays and objects than it writes
        raise InvalidInput(f"this cannot be written as JSON: {error}") from None


def line_outcome(asked: Asked, reply: Reply | EverwatchError | None) -> LineOutcome:
    """Return what became of a line."""
    if isinstance(reply, RecordRefused):
        return LineOutcome(asked.line, 413, code="too_large", reason=str(reply))
    if isinstance(reply, EverwatchError):
        return LineOutcome(asked.line, 503, code="kafka_unavailable", reason="Kafka does not have it: send it again.")
    asker = asked.asker
    if reply is None:
        command_id = asker.command_id or asker.signup_id or asker.signal_id
        return LineOutcome(
            asked.line, 202, OutcomeView(command_id, asker.command, asker.user_id, asker.monitor_id, None)
        )
    if reply.answer is Outcomes.REFUSED:
        return LineOutcome(asked.line, refused(reply).status, outcome(reply), reply.code, reply.reason, reply.path)
    return LineOutcome(asked.line, HTTPStatus.OK, outcome(reply))


def line_change(asked: Asked, became: LineOutcome) -> AuditedChange:
    """Return the audit entry of a line."""
    asker, answered = asked.asker, became.outcome
    said = became.code or (answered.answer.value if answered and answered.answer else ACCEPTED)
    return AuditedChange(
        asker.command, asker.user_id, asker.monitor_id, asker.command_id or asker.signup_id, became.status, said
    )


def line_failure(number: int, problem: Problem, path: str = "") -> LineOutcome:
    """Return what is said of a line that was not sent."""
    return LineOutcome(number, problem.status, code=problem.code, reason=problem.detail, path=path)
