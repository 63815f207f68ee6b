"""The HTTP API as commands use it: the client of the settings, and a way for inputs to the workers and back."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from math import ceil
from threading import Event
from typing import Any

import msgspec
import orjson

from everwatch.api.views import LineOutcome, OutcomeView
from everwatch.cli.support.run_parts import run_parts
from everwatch.client import ApiError, Client
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.kafka.command_client import Asked, Unanswered, unanswered_text
from everwatch.model import Asker, CommandOutcome, Reply

AT_ONCE = 1_000
LONGEST_WAIT_S = 30
"""Seconds that the API waits for workers at most."""
PATIENCE_S = 8.0
"""Seconds for which a request is sent again: a person waits for the command, so it is less than in a program."""
_REFUSED_AT = 400
REFUSALS = (403, 404, 409, 412, 413, 422)
"""Statuses that say that a command was refused, and not that it could not be sent."""


@contextmanager
def api_client(settings: Settings) -> Iterator[Client]:
    """The client of the API that the settings name. Raises SettingsError for an address that is none."""
    with Client(settings.api_url, settings.api_token.get_secret_value(), patience_s=PATIENCE_S) as client:
        yield client


class ApiLink:
    """A way to the workers and back through the API. ``delivered``: inputs that are kept on Kafka."""

    def __init__(self, client: Client, timeout_s: float, clock: Clock) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._clock = clock
        self._pause = Event()
        self.delivered = 0

    def send(self, inputs: Iterable[Asked]) -> None:
        """Send inputs; returns once Kafka has all of them. Raises ApiError."""
        source = iter(inputs)
        while some := list(islice(source, AT_ONCE)):
            for _, outcome in self._sent(some, 0):
                if outcome.status >= _REFUSED_AT:
                    raise ApiError(outcome.status, outcome.code, outcome.reason)

    def ask(self, inputs: Iterable[Asked]) -> Iterator[tuple[Asked, Reply]]:
        """Send inputs and give their answers. Raises ApiError, Unanswered."""
        source = iter(inputs)
        while some := list(islice(source, AT_ONCE)):
            waiting: list[Asked] = []
            for asked, outcome in self._sent(some, min(LONGEST_WAIT_S, ceil(self._timeout_s))):
                if outcome.status >= _REFUSED_AT and outcome.outcome is None:
                    yield asked, _refused(asked, outcome)
                elif outcome.outcome is None or outcome.outcome.answer is None:
                    waiting.append(asked)
                else:
                    yield asked, _reply(asked.asker, outcome.outcome)
            yield from self._later(waiting)

    def _sent(self, some: Sequence[Asked], wait_s: float) -> Iterator[tuple[Asked, LineOutcome]]:
        outcomes = self._client.batch(map(_line, some), wait_s=wait_s)
        for asked, outcome in zip(some, outcomes, strict=True):
            # no input is to blame, so it is no refusal
            if outcome.outcome is None and outcome.status in (401, 403, 429, 503):
                raise ApiError(outcome.status, outcome.code, outcome.reason)
            self.delivered += outcome.status < _REFUSED_AT or outcome.outcome is not None
            yield asked, outcome

    def _later(self, waiting: list[Asked]) -> Iterator[tuple[Asked, Reply]]:
        """The answers that come while they are waited for."""
        deadline_s = self._clock.monotonic_s() + max(0.0, self._timeout_s - LONGEST_WAIT_S)
        while waiting:
            left = []
            for asked in waiting:
                outcome = self._client.outcome(asked.asker.user_id, _id_of(asked))
                if outcome is None or outcome.answer is None:
                    left.append(asked)
                else:
                    yield asked, _reply(asked.asker, outcome)
            now_s = self._clock.monotonic_s()
            if len(left) < len(waiting):
                deadline_s = now_s + self._timeout_s
            elif now_s >= deadline_s:
                raise Unanswered(unanswered_text(len(left), self._timeout_s))
            waiting = left
            if waiting:
                self._pause.wait(run_parts().look_again_s)


def refusal_of(error: ApiError, command: str, user_id: str, monitor_id: str) -> OutcomeView:
    """Return the outcome of a command that the API refused, or that a worker did."""
    refused = CommandOutcome.REFUSED
    return OutcomeView("", command, user_id, monitor_id, refused, code=error.code, reason=error.reason, path=error.path)


def reply_of(outcome: OutcomeView) -> Reply:
    """Return the reply to a command that the API's account of it stands for; it must have been answered."""
    return _reply(Asker(outcome.command, outcome.user_id, outcome.monitor_id, outcome.command_id), outcome)


def _line(asked: Asked) -> dict[str, Any]:
    """An input as a line of a batch."""
    said: dict[str, Any] = orjson.loads(asked.value)
    return said if "command" in said else {"command": asked.asker.command, **said}


def _id_of(asked: Asked) -> str:
    asker = asked.asker
    return asker.command_id or asker.signup_id or asker.signal_id


def _refused(asked: Asked, outcome: LineOutcome) -> Reply:
    """The answer to an input that the API refused before it was sent."""
    asker = asked.asker
    return Reply(
        asker.command_id,
        asker.user_id,
        asker.monitor_id,
        asker.command,
        CommandOutcome.REFUSED,
        outcome.reason,
        outcome.path,
        0,
        0,
        outcome.code,
        asker.signup_id,
        asker.signal_id,
    )


def _reply(asker: Asker, outcome: OutcomeView) -> Reply:
    partition, _, offset = outcome.position.partition("@")
    assert outcome.answer is not None  # there is no reply otherwise
    reply = Reply(
        asker.command_id,
        outcome.user_id,
        outcome.monitor_id,
        outcome.command,
        outcome.answer,
        outcome.reason,
        outcome.path,
        outcome.version,
        outcome.at,
        outcome.code,
        asker.signup_id,
        asker.signal_id,
    )
    return msgspec.structs.replace(reply, partition=int(partition), offset=int(offset)) if offset else reply
