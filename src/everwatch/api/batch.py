"""Many commands in one request: lines of JSON in, a line of JSON out for each."""

import asyncio
from collections.abc import Callable, Iterable
from hashlib import blake2b
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import msgspec
import orjson

from everwatch.api.auditing import ACCEPTED
from everwatch.api.commanding import Commands
from everwatch.api.permissions import Principal, Scope
from everwatch.api.problems import Problem, invalid, refused
from everwatch.api.rendering import outcome
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import key_of, wait_of
from everwatch.api.views import LineOutcome, OutcomeView
from everwatch.core.errors import EverwatchError, InvalidInput, RecordRefused
from everwatch.kafka.command_client import Asked, asked_of, signal_asked, signup_asked
from everwatch.model import CommandOutcome as Outcomes
from everwatch.model import CommandType, Reply

MOST_LINES = 10_000
BODY_LIMIT = 32 * 1024 * 1024
# lines between two turns of the event loop, and lines that are sent together: a part is a unit of work of a worker,
# and each of those costs the broker as much as some hundred lines
_AT_ONCE, _SENT_TOGETHER = 100, 2_000
NDJSON = "application/x-ndjson"
Line = TypeVar("Line")
_FOR_ADMINS = frozenset({CommandType.PURGE, CommandType.REENCRYPT_USER})


class Batches:
    """Handler of ``/v1/batch``."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def post(self, call: Call, data: bytes) -> Answer:
        """Carry out up to 10,000 commands, one a line, as on the topic commands; also signup and signal."""
        lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
        if not lines:
            raise Problem(400, "empty", "Send one command a line, as on the topic commands.")
        if len(lines) > MOST_LINES:
            raise Problem(413, "too_many", f"These are {len(lines)} commands: send at most {MOST_LINES} at once.")
        ids = line_ids_of(call)
        outcomes = await carry_out_lines(
            self._commands, call, lines, lambda number, line: line_asked(line, number, call.principal, ids)
        )
        body = b"".join(msgspec.json.encode(outcomes[number]) + b"\n" for number, _ in lines)
        return Answer(body, 207, media_type=NDJSON, changes=[])


async def carry_out_lines(
    commands: Commands, call: Call, lines: Iterable[tuple[int, Line]], read: Callable[[int, Line], Asked]
) -> dict[int, LineOutcome]:
    """Send inputs of many lines and return the outcome of each, by its number; the audit log has them all then.

    Workers carry out the first lines while the next ones are read. ``read`` raises InvalidInput and Problem.
    """
    outcomes: dict[int, LineOutcome] = {}
    wait_s = wait_of(call)

    async def settle(asked: list[Asked]) -> None:
        replies = await commands.ask(asked, wait_s)
        for each, reply in zip(asked, replies, strict=True):
            outcomes[each.line] = line_outcome(each, reply)
        changes = [line_change(each, outcomes[each.line]) for each in asked if each.asker.command != "signal"]
        if call.note is not None and changes:
            await call.note(changes)

    source = iter(lines)
    async with asyncio.TaskGroup() as group:
        part: list[Asked] = []
        while some := list(islice(source, _AT_ONCE)):
            part += read_lines(some, read, outcomes)
            if len(part) >= _SENT_TOGETHER:
                group.create_task(settle(part))
                part = []
            # parts are sent in the order in which their tasks begin: a user's lines stay in order
            await asyncio.sleep(0)
        if part:
            group.create_task(settle(part))
    return outcomes


def read_lines(
    lines: Iterable[tuple[int, Line]], read: Callable[[int, Line], Asked], outcomes: dict[int, LineOutcome]
) -> list[Asked]:
    """Return the inputs of lines; ``outcomes`` gets those of the lines that are wrong."""
    asked = []
    for number, line in lines:
        try:
            asked.append(read(number, line))
        except InvalidInput as error:
            outcomes[number] = line_failure(number, invalid(error), error.path)
        except Problem as problem:
            outcomes[number] = line_failure(number, problem)
    return asked


class LineIds(NamedTuple):
    """Ids for lines that have none. ``key``: the request's Idempotency-Key, "" for none; ``begin``: of each id."""

    key: str
    begin: str

    def identify(self, wanted: dict[str, Any], line: bytes, number: int) -> None:
        """Give a command or signup its id; with a key the one that it has each time its request is sent.

        With a key it gets the digest of what it asks for, too.
        """
        name = {"signup": "signup_id", "signal": ""}.get(wanted.get("command", ""), "command_id")
        if name and not wanted.get(name):
            wanted[name] = f"{self.begin}-{number}"
            if self.key:
                wanted["request_digest"] = blake2b(line, digest_size=12).hexdigest()


def line_ids_of(call: Call) -> LineIds:
    """Return the ids for lines of a request. Raises Problem for a key that is none."""
    key = key_of(call)
    if not key:
        return LineIds("", call.new_id or uuid4().hex)
    return LineIds(key, blake2b(f"{call.principal.user_id}\0{key}".encode(), digest_size=16).hexdigest())


def line_asked(line: bytes, number: int, principal: Principal, ids: LineIds) -> Asked:
    """Return the input in a line. Raises InvalidInput, and Problem where the token does not permit it."""
    try:
        wanted: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not valid JSON: {error}") from None
    if not isinstance(wanted, dict):
        raise InvalidInput("a command is a JSON object")
    wanted.pop("reply", None)
    ids.identify(wanted, line, number)
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
    """Return the outcome of a line."""
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
    """Return the outcome of a line that was not sent."""
    return LineOutcome(number, problem.status, code=problem.code, reason=problem.detail, path=path)
