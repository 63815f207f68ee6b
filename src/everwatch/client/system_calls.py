"""Signals, many commands at once, and the system itself, as the client asks for them."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from everwatch.api.bodies import (
    SignalBody,
    SignalsBody,
)
from everwatch.api.inspecting_views import DatabaseView, TopicsView
from everwatch.api.overview_views import OverviewView
from everwatch.api.state_views import (
    CountsView,
    DiagnosisView,
    LagView,
    PartitionsView,
    PlansView,
    WorkersView,
)
from everwatch.api.views import (
    Accepted,
    LineOutcome,
    OutcomeView,
    PingKeyView,
)
from everwatch.client.api_calls import ApiCalls, decoded, read_as
from everwatch.client.errors import ApiError
from everwatch.client.requests import NDJSON, ApiRequest, place


class SystemCalls(ApiCalls):
    """Inputs of many users, and the state of the system."""

    async def signal(self, *signals: SignalBody) -> int:
        """Send signals of jobs, and values; gives how many are durable.

        They are sent again only where each says when it was (``at``): the same signal of the same instant counts once.
        """
        users = {each.user_id for each in signals}
        sent = ApiRequest(
            method="POST",
            path="/v1/signals",
            user_id=users.pop() if len(users) == 1 else "",
            body=msgspec.json.encode(SignalsBody(list(signals))),
            is_repeatable=all(each.at for each in signals),
        )
        return decoded(await self._transport.send(sent), Accepted).accepted

    async def ping_key(self, user_id: str) -> PingKeyView:
        """Return the key of a user's ping URLs."""
        return await self.get(place("users", user_id, "ping-key"), PingKeyView, user_id=user_id)

    async def batch(self, commands: Iterable[Mapping[str, Any]], *, wait_s: float | None = None) -> list[LineOutcome]:
        """Carry out up to 10,000 commands, as on the topic ``commands``, also ``signup`` and ``signal``.

        Gives what became of each, in order. Those without an id get one. Signals without ``at`` keep the batch from
        being sent again.
        """
        lines = [_with_id(each) for each in commands]
        sent = ApiRequest(
            method="POST",
            path="/v1/batch",
            body=b"".join(msgspec.json.encode(each) + b"\n" for each in lines),
            media_type=NDJSON,
            is_repeatable=not any(each.get("command") == "signal" and not each.get("at") for each in lines),
            wait_s=self._wait_s if wait_s is None else wait_s,
        )
        answer = await self._transport.send(sent)
        found = [read_as(LineOutcome, line, answer.status) for line in answer.body.splitlines()]
        for each in found:
            if each.outcome is not None:
                self._transport.positions.note(each.outcome.user_id, each.outcome.position)
        return found

    async def outcome(self, user_id: str, command_id: str) -> OutcomeView | None:
        """Return the outcome of a command; None if no worker has answered it, or not lately."""
        try:
            return await self.get(place("users", user_id, "commands", command_id), OutcomeView, user_id=user_id)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def overview(self) -> OverviewView:
        """Return the system at a glance: counts, the newest results, the last hour's transitions."""
        return await self.get("/v1/overview", OverviewView)

    async def counts(self) -> CountsView:
        """Return how many monitors there are by state, kind and plan, and users by plan."""
        return await self.get("/v1/counts", CountsView)

    async def plans(self) -> PlansView:
        """Return the plans that the API goes by, with their limits."""
        return await self.get("/v1/plans", PlansView)

    async def lag(self) -> LagView:
        """Return how far processes are behind, by topic and group."""
        return await self.get("/v1/lag", LagView)

    async def partitions(self) -> PartitionsView:
        """Return how far processes are behind, by partition, and who owns it."""
        return await self.get("/v1/partitions", PartitionsView)

    async def workers(self) -> WorkersView:
        """Return workers, executors and sinks."""
        return await self.get("/v1/workers", WorkersView)

    async def database(self) -> DatabaseView:
        """Return size, rows and age of the database's tables, and the next deletions."""
        return await self.get("/v1/database", DatabaseView)

    async def topics(self) -> TopicsView:
        """Return the topics, and what is wrong with them."""
        return await self.get("/v1/topics", TopicsView)

    async def diagnosis(self) -> DiagnosisView:
        """Return the faults of the system, each with its remedy."""
        return await self.get("/v1/diagnosis", DiagnosisView)


def _with_id(line: Mapping[str, Any]) -> Mapping[str, Any]:
    is_command = line.get("command") not in ("signup", "signal")
    return {**line, "command_id": uuid4().hex} if is_command and not line.get("command_id") else line
