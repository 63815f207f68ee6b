"""Sends commands, signups and signals, and waits for their outcomes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import orjson

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable, EverwatchError, InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.topics import Topics
from everwatch.model import AskedKey, Asker, Reply
from everwatch.rules.admission import SignupPlans, admit_command, admit_signup

# inputs that are under way at once: what is not durable, or not answered yet, is held in memory
AT_ONCE = 10_000
TAKE_S = 0.25


class Unanswered(EverwatchError):
    """No worker answered an input. It may be carried out yet."""

    # a script can distinguish it from a refusal, and send the same command_id again
    exit_code = BrokerUnavailable.exit_code


class Asked(NamedTuple):
    """An input that may be sent: its asker, the record's value, and the line that it came from (0: from none).

    ``partition``: the one that the API sends it to; None: that of its user's key.
    """

    asker: Asker
    value: bytes
    line: int = 0
    partition: int | None = None

    def topic_of(self, topics: Topics) -> str:
        """The topic that it goes to."""
        return {"signup": topics.signups, "signal": topics.signals}.get(self.asker.command, topics.commands)


class Sender(Protocol):
    """Sender of inputs to the broker."""

    def send(self, topic: str, user_id: str, value: bytes) -> None:
        """Queue one record, keyed by the user."""
        ...

    def finish(self) -> None:
        """Wait until everything is durable. Raises BrokerUnavailable."""
        ...


class ReplyReader(Protocol):
    """Reader of replies since it was opened, those of other clients included."""

    def take(self, timeout_s: float) -> Sequence[Reply]:
        """Some answers, in the order in which each user's came; none if none comes within ``timeout_s``."""
        ...


def asked_of(wanted: dict[str, Any], line: int = 0) -> Asked:
    """The command that ``wanted`` (an object as on the topic ``commands``) is, with an id of its own if it has none.

    Raises InvalidInput with the reason and the field's path.
    """
    try:
        value = orjson.dumps({**wanted, "command_id": wanted.get("command_id") or uuid4().hex})
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"this cannot be written as JSON: {error}") from None
    return Asked(Asker.of(admit_command(value)), value, line)


def signup_asked(
    value: bytes, plans: SignupPlans | None = None, *, signup_id: str = "", ask: bool = False, line: int = 0
) -> Asked:
    """The signup in ``value``, JSON without an id, checked against ``plans``.

    ``signup_id``: its id; without one it gets a new one if it is to ``ask`` for an answer.
    Raises InvalidInput with the reason and the field's path.
    """
    signup_id = signup_id or (uuid4().hex if ask else "")
    with_id = with_member(value, "signup_id", signup_id) if signup_id else value
    signup = admit_signup(with_id, plans=plans)
    return Asked(Asker.of(signup), with_id, line)


def signal_asked(value: bytes, *, signal_id: str = "", ask: bool = False) -> Asked:
    """The signal in ``value``, JSON without an id; ids as of ``signup_asked``. Raises InvalidInput."""
    signal_id = signal_id or (uuid4().hex if ask else "")
    with_id = with_member(value, "signal_id", signal_id) if signal_id else value
    return Asked(Asker.of(codec.decode_signal(with_id)), with_id)


def with_member(value: bytes, name: str, text: str) -> bytes:
    """A JSON object, not empty and without space around it, with one more member; of two of a name the last counts."""
    if not value.endswith(b"}") or value[:-1].rstrip().endswith(b"{"):
        return value  # what is no object, or an empty one, is refused as it is
    return b'%b,"%b":%b}' % (value[:-1], name.encode(), orjson.dumps(text))


def send_inputs(topics: Topics, inputs: Iterable[Asked], sender: Sender, at_once: int = AT_ONCE) -> None:
    """Send inputs and wait until the broker has all of them. Raises BrokerUnavailable."""
    source = iter(inputs)
    while some := list(islice(source, at_once)):
        _send(topics, some, sender)


class Patience(NamedTuple):
    """``timeout_s``: how long an answer is waited for; ``at_once``: most inputs without an answer."""

    timeout_s: float
    at_once: int = AT_ONCE


def ask(
    topics: Topics,
    inputs: Iterable[Asked],
    sender: Sender,
    replies: ReplyReader,
    clock: Clock,
    patience: Patience,
) -> Iterator[tuple[Asked, Reply]]:
    """Send inputs and give each with its answer, in the order of the answers.

    ``replies`` must have been opened before. Raises BrokerUnavailable, and Unanswered when inputs wait for an answer
    and none of them gets one for the ``timeout_s`` of ``patience``.
    """
    timeout_s, at_once = patience
    source = iter(inputs)
    waiting: dict[AskedKey, list[Asked]] = {}
    count = 0
    while True:
        some = list(islice(source, at_once - count))
        for each in some:
            waiting.setdefault(each.asker.key, []).append(each)
        count += len(some)
        if not count:
            return
        if some:
            _send(topics, some, sender)
        # sent by halves: the worker has the one to do while the other is made
        enough = at_once // 2 if len(some) else 0
        deadline_s = clock.monotonic_s() + timeout_s
        while count > enough:
            answered = False
            for reply in replies.take(TAKE_S):
                key = reply.key
                if key not in waiting:
                    continue
                first, *others = waiting.pop(key)
                if others:
                    waiting[key] = others
                count, answered = count - 1, True
                yield first, reply
            now_s = clock.monotonic_s()
            if answered:
                deadline_s = now_s + timeout_s
            elif now_s >= deadline_s:
                raise Unanswered(unanswered_text(count, timeout_s))


def _send(topics: Topics, inputs: Iterable[Asked], sender: Sender) -> None:
    for each in inputs:
        sender.send(each.topic_of(topics), each.asker.user_id, each.value)
    sender.finish()


def unanswered_text(count: int, timeout_s: float) -> str:
    """Return the sentence about ``count`` inputs without an answer."""
    who, stays = ("answered", "the record stays") if count == 1 else (f"answered {count} records", "they stay")
    they_are = "is" if count == 1 else "are"
    return f"No worker {who} within {timeout_s:g} s: {stays} on the topic and {they_are} carried out when one runs."
