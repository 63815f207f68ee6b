"""Shared parts of writes: ids, preconditions, time to wait, and the answer to a command."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec

from everwatch.api.commanding import Commands
from everwatch.api.problems import Problem, refused
from everwatch.api.rendering import outcome, position_text
from everwatch.api.routing import Answer, Call
from everwatch.api.views import OutcomeView
from everwatch.core.errors import EverwatchError, InvalidInput
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.kafka.command_client import Asked, asked_of, signup_asked, with_member
from everwatch.model import CommandOutcome as Outcomes
from everwatch.model import Reply
from everwatch.rules.registration_tag import ABSENT, PRESENT

WAIT_S = 5.0
MOST_WAIT_S = 30.0
_KEY = re.compile(NO_HIDDEN)
_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,6})\"?\s*\Z", re.IGNORECASE)
_TAG = re.compile(r'"([0-9a-f]{16})(?:\.[0-9a-f]*)?"\Z')
_VERSION = re.compile(r'"(\d{1,10})(?:\.[0-9a-f]*)?"\Z')
LONGEST_KEY = 128


def command_id_of(call: Call) -> str:
    """Return the id that the command gets: the request's Idempotency-Key, else a new one. Raises Problem."""
    return key_of(call) or call.new_id or uuid4().hex


def key_of(call: Call) -> str:
    """Return the request's Idempotency-Key; "" if it has none. Raises Problem."""
    given = call.headers.get("Idempotency-Key")
    if given is None:
        return ""
    if not 0 < len(given) <= LONGEST_KEY or not _KEY.match(given):
        raise Problem(400, "invalid_header", f"An Idempotency-Key has 1 to {LONGEST_KEY} visible characters.")
    return given


def wait_of(call: Call) -> float:
    """Return how many seconds the request wants to wait for a worker's answer (RFC 7240)."""
    preferences = ",".join(call.headers.getall("Prefer", [])).split(",")
    for preference in preferences:
        if found := _WAIT.match(preference):
            return min(float(found[1]), MOST_WAIT_S)
    # beside a wait it says what is answered after it, which is so anyway
    is_async = any(preference.strip().lower() == "respond-async" for preference in preferences)
    return 0.0 if is_async else WAIT_S


def version_of(call: Call) -> int | None:
    """Return the version that the monitor must be at; 0: there must be none, None: whatever it is at.

    Without any precondition it is 0, so a change by another client is not overwritten. Raises Problem.
    """
    etag = _etag_of(call)
    if etag is None:
        return 0
    if etag == "*":
        return None
    found = _VERSION.match(etag)
    if found is None or int(found[1]) > 2**31 - 1:
        raise Problem(412, "version_mismatch", "If-Match names no version that there ever was.")
    return int(found[1])


def registration_of(call: Call) -> str:
    """Return what the user's registration must be (see ``rules.registration_tag``), "" for anything. Raises Problem."""
    etag = _etag_of(call)
    if etag is None:
        return ABSENT if "If-None-Match" in call.headers else ""
    if etag == "*":
        return PRESENT
    found = _TAG.match(etag)
    if found is None:
        raise Problem(412, "version_mismatch", "If-Match is not an ETag of a user.")
    return found[1]


def _etag_of(call: Call) -> str | None:
    """Return what If-Match names, None without it; If-None-Match may only be ``*``. Raises Problem."""
    if_match, if_none_match = call.headers.get("If-Match"), call.headers.get("If-None-Match")
    if if_match is not None and if_none_match is not None:
        raise Problem(400, "invalid_header", "Send If-Match or If-None-Match, not both.")
    if if_none_match is not None and if_none_match.strip() != "*":
        raise Problem(400, "invalid_header", "If-None-Match is * here: only create.")
    return None if if_match is None else if_match.strip()


def has_precondition(call: Call) -> bool:
    """Tell whether the request says which version it is about."""
    return "If-Match" in call.headers or "If-None-Match" in call.headers


async def carry_out(
    commands: Commands, call: Call, wanted: Mapping[str, Any], *, body_at: str = "$", partition: int | None = None
) -> Reply | Answer:
    """Send a command and wait for its answer. Raises Problem for a refusal; gives a 202 if no worker answered.

    ``body_at``: where the request's body stands in the command, so that paths of what is wrong are those of the body.
    ``partition``: see ``Asked``.
    """
    digest = {"request_digest": call.request_digest} if call.request_digest else {}
    try:
        asked = asked_of({**wanted, "command_id": command_id_of(call), **digest})
    except InvalidInput as error:
        raise InvalidInput(error.reason, _in_body(error.path, body_at), error.code) from None
    return await ask(commands, call, asked._replace(partition=partition), body_at=body_at)


async def sign_up(commands: Commands, call: Call, value: bytes) -> Reply | Answer:
    """Send a signup, as ``carry_out``."""
    if call.request_digest:
        value = with_member(value, "request_digest", call.request_digest)
    return await ask(commands, call, signup_asked(value, signup_id=command_id_of(call)))


async def ask(commands: Commands, call: Call, asked: Asked, *, body_at: str = "$") -> Reply | Answer:
    """Send an input that has an id, and wait for its answer, as ``carry_out``."""
    [reply] = await commands.ask([asked], wait_of(call))
    if isinstance(reply, EverwatchError):
        raise reply
    if reply is None:
        return pending(asked)
    if reply.answer is Outcomes.REFUSED:
        raise refused(msgspec.structs.replace(reply, path=_in_body(reply.path, body_at)))
    return reply


def _in_body(path: str, body_at: str) -> str:
    """A path in a command as one in the request's body."""
    return f"${path.removeprefix(body_at)}" if body_at != "$" and path.startswith(body_at) else path


def pending(asked: Asked) -> Answer:
    """Return the answer to an input that is kept, and that no worker has answered yet."""
    asker = asked.asker
    command_id = asker.command_id or asker.signup_id or asker.signal_id
    body = OutcomeView(command_id, asker.command, asker.user_id, asker.monitor_id, None)
    location = f"/v1/commands/{quoted(command_id)}?user={quoted(asker.user_id)}"
    return Answer(body, 202, {"Location": location, "Retry-After": "1"})


def done(reply: Reply, status: int = 200, *, body: bool = True, location: str = "") -> Answer:
    """Return the answer to an input that was carried out."""
    headers = {"ETag": f'"{reply.version}"'} if reply.version else {}
    if position := position_text(reply):
        headers["Everwatch-Position"] = position
    if location:
        headers["Location"] = location
    return Answer(outcome(reply) if body else None, status, headers)


def quoted(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def member(value: msgspec.Struct, user_id: str) -> bytes:
    """Return a body as JSON with the user that the path names."""
    return with_member(msgspec.json.encode(value), "user_id", user_id)
