"""Results, transitions, dead letters and live events, as the client asks for them."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import TypeVar

import msgspec

from everwatch.api.bodies import (
    RedriveBody,
)
from everwatch.api.queries import (
    AllResultsQuery,
    AllTransitionsQuery,
    AuditQuery,
    EventKind,
    LettersQuery,
    LiveQuery,
)
from everwatch.api.state_views import (
    LettersView,
    LetterView,
    RedriveView,
)
from everwatch.api.views import (
    ResultView,
    SpecChangesView,
    SpecChangeView,
)
from everwatch.client.api_calls import ApiCalls, decoded, monitor_place
from everwatch.client.errors import UNREACHABLE, ApiError
from everwatch.client.event_stream import EventParser, LiveEvent
from everwatch.client.requests import ApiRequest, place, read
from everwatch.client.retrying import pause_s
from everwatch.model import AuditEntry, Transition

EVERY_RESULT = AllResultsQuery()
EVERY_TRANSITION = AllTransitionsQuery()
EVERY_LETTER = LettersQuery()
EVERY_CHANGE = AuditQuery()


class HistoryCalls(ApiCalls):
    """Methods for results, transitions, changes, dead letters and live events."""

    def results(self, query: AllResultsQuery = EVERY_RESULT, monitor_id: str = "") -> AsyncIterator[ResultView]:
        """Iterate results, the latest first; ``monitor_id``: of this monitor of ``query.user``."""
        path, query = _of_monitor("results", query, monitor_id)
        return self._iterate(path, query, ResultView, query.user)

    def transitions(
        self, query: AllTransitionsQuery = EVERY_TRANSITION, monitor_id: str = ""
    ) -> AsyncIterator[Transition]:
        """Iterate transitions, the latest first; ``monitor_id``: of this monitor of ``query.user``."""
        path, query = _of_monitor("transitions", query, monitor_id)
        return self._iterate(path, query, Transition, query.user)

    def audit(self, query: AuditQuery = EVERY_CHANGE) -> AsyncIterator[AuditEntry]:
        """Iterate who changed what over HTTP, the latest first."""
        return self._iterate("/v1/audit", query, AuditEntry)

    async def spec_changes(self, user_id: str, monitor_id: str) -> list[SpecChangeView]:
        """Return the changes of a monitor's specification, the latest first."""
        return (await self.get(monitor_place(user_id, monitor_id, "changes"), SpecChangesView)).items

    async def dead_letters_page(self, query: LettersQuery = EVERY_LETTER) -> LettersView:
        """Return one page of dead letters, the latest first; the first one counts them by reason."""
        return decoded(await self._transport.send(read("/v1/dead-letters", query)), LettersView)

    def dead_letters(self, query: LettersQuery = EVERY_LETTER) -> AsyncIterator[LetterView]:
        """Iterate dead letters, the latest first."""
        return self._iterate("/v1/dead-letters", query, LetterView)

    async def dead_letter(self, partition: int, offset: int) -> LetterView:
        """Return one dead letter."""
        return await self.get(place("dead-letters", str(partition), str(offset)), LetterView)

    async def dead_letter_original(self, partition: int, offset: int) -> LetterView:
        """Return one dead letter as its topic has it, whole and with its secrets."""
        path = place("dead-letters", str(partition), str(offset), "original")
        return await self.get(path, LetterView)

    async def redrive(self, body: RedriveBody) -> RedriveView:
        """Send dead letters back to where they came from, at most 1,000; with ``dry_run`` say what would be sent.

        One that was sent back is left out the next time, so it is repeated where that is harmless: without ``again``.
        """
        sent = ApiRequest(
            method="POST",
            path="/v1/dead-letters/redrive",
            body=msgspec.json.encode(body),
            is_repeatable=body.dry_run or not body.again,
            takes_s=35.0,
        )
        return decoded(await self._transport.send(sent), RedriveView)

    async def live(
        self, user_id: str = "", monitor_id: str = "", only: EventKind | None = None
    ) -> AsyncIterator[LiveEvent]:
        """Iterate results and transitions as they come, from now on and without end.

        A stream that breaks is opened again where it broke, for up to ``patience_s``; events that came while there was
        no connection come then, or are counted as dropped.
        """
        request = read("/v1/live", LiveQuery(user_id, monitor_id, only), user_id=user_id)
        parser = EventParser()
        silence = _Silence(asyncio.get_running_loop().time, self._patience_s)
        while True:
            try:
                async with self._transport.stream(request, parser.last_event_id) as lines:
                    async for event in _events(lines, parser, silence):
                        yield event
            except ApiError as error:
                await self._sleep(silence.pause_s(error, request))


class _Silence:
    """For how long a stream has been silent, and how often it was opened meanwhile."""

    def __init__(self, monotonic_s: Callable[[], float], patience_s: float) -> None:
        self._monotonic_s = monotonic_s
        self._patience_s = patience_s
        self.end()

    def end(self) -> None:
        """Note that a line came."""
        self._since_s, self._attempt = self._monotonic_s(), 0

    def pause_s(self, error: ApiError, request: ApiRequest) -> float:
        """Return the pause before the stream is opened again; raise ``error`` if it is not to be."""
        pause = pause_s(error, request, self._attempt)
        if pause is None or self._monotonic_s() + pause > self._since_s + self._patience_s:
            raise error
        self._attempt += 1
        return pause


async def _events(lines: AsyncIterable[bytes], parser: EventParser, silence: _Silence) -> AsyncIterator[LiveEvent]:
    """Iterate the events of one stream. Raises ApiError, also at its end."""
    parser.begin()
    async for line in lines:
        silence.end()
        if (event := parser.take(line.rstrip(b"\r\n"))) is not None:
            yield event
    raise ApiError(0, UNREACHABLE, "The API ended the stream of events.")


AnyQuery = TypeVar("AnyQuery", AllResultsQuery, AllTransitionsQuery)


def _of_monitor(what: str, query: AnyQuery, monitor_id: str) -> tuple[str, AnyQuery]:
    """The path of a list: of one monitor, or of all."""
    if not monitor_id:
        return f"/v1/{what}", query
    return monitor_place(query.user, monitor_id, what), msgspec.structs.replace(query, user="")
