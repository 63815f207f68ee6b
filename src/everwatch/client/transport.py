"""Sends requests over one session of aiohttp: the token, retries, and positions for reading one's own writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from everwatch.client.errors import UNREACHABLE, ApiError, error_of
from everwatch.client.positions import Positions
from everwatch.client.requests import ApiRequest
from everwatch.client.retrying import Unsent, pause_s
from everwatch.core.errors import SettingsError

ANSWER_WITHIN_S = 15.0
"""Seconds that one attempt may take, what the server waits on purpose not counted: its own deadline is 10 s."""
CONNECT_WITHIN_S = 5.0
PATIENCE_S = 30.0
SILENT_FOR_S = 35.0
"""A stream without any byte for this long is broken: the server writes every 10 s."""
LONGEST_LINE = 512 * 1024
Sleep = Callable[[float], Awaitable[object]]


class HttpAnswer(NamedTuple):
    """Response with a status below 300: headers and body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class HttpTransport:
    """A connection pool to one API. Use it in one event loop; ``close`` it there."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_s: float = PATIENCE_S,
        after: str = "",
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``patience_s``: for how long a request is sent again. Raises SettingsError for text that is no HTTP URL."""
        self.url = url.rstrip("/")
        if URL(self.url).scheme not in ("http", "https") or not URL(self.url).host:
            raise SettingsError(f"{url[:200]!r} is no address of an API: give one like http://127.0.0.1:8470.")
        self.positions = Positions(after)
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s = patience_s
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, request: ApiRequest) -> HttpAnswer:
        """Return the answer to a request, sent again while that may help and does no harm. Raises ApiError."""
        end_s = asyncio.get_running_loop().time() + self._patience_s + (request.wait_s or 0.0)
        attempt = 0
        while True:
            wanted = self.positions.wanted(request.user_id) if request.is_read else ""
            try:
                answer = await self._once(request, wanted)
            except ApiError as error:
                pause = pause_s(error, request, attempt)
                if pause is None or asyncio.get_running_loop().time() + pause > end_s:
                    raise
                await self._sleep(pause)
                attempt += 1
                continue
            if wanted:
                self.positions.passed(request.user_id, wanted)
            self.positions.note(request.user_id, answer.headers.get("Everwatch-Position", ""))
            return answer

    @asynccontextmanager
    async def stream(
        self,
        request: ApiRequest,
        last_event_id: str = "",
        data: Any = None,
        silent_for_s: float = SILENT_FOR_S,
        *,
        sees_writes: bool = False,
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a stream, of events behind ``last_event_id`` if that is given; ``data``: what is sent meanwhile.

        ``sees_writes``: it reads what this client has written. Raises ApiError.
        """
        headers = request.headers if data is not None else {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if sees_writes and (wanted := self.positions.wanted(request.user_id)):
            headers["Everwatch-After"] = wanted
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN_S, sock_read=silent_for_s)
        try:
            async with self._opened().request(
                request.method,
                URL(self.url + request.path, encoded=True),
                headers=self._authorization | headers,
                data=data,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise _refusal(response, await response.read())
                yield response.content
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unanswered(error) from None

    async def _once(self, request: ApiRequest, wanted: str) -> HttpAnswer:
        headers = self._authorization | request.headers | ({"Everwatch-After": wanted} if wanted else {})
        timeout = aiohttp.ClientTimeout(
            total=ANSWER_WITHIN_S + request.takes_s + (request.wait_s or 0.0), sock_connect=CONNECT_WITHIN_S
        )
        try:
            async with self._opened().request(
                request.method,
                # a segment of a path stays as it was encoded
                URL(self.url + request.path, encoded=True),
                data=request.body,
                headers=headers,
                timeout=timeout,
                # a token is for the address that it was given with
                allow_redirects=False,
            ) as response:
                body = await response.read()
                if response.status >= 300:
                    raise _refusal(response, body)
                return HttpAnswer(response.status, response.headers, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unanswered(error) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # an event is one line, and a result has at most 256 KiB
            self._session = aiohttp.ClientSession(read_bufsize=LONGEST_LINE)
        return self._session

    def _unanswered(self, error: Exception) -> ApiError:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            why = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else "it takes too long"
            return Unsent(f"The API at {self.url} cannot be reached ({why or error}): is it running there?")
        why = "it takes too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return ApiError(0, UNREACHABLE, f"The API at {self.url} did not answer ({why}).")


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    headers = response.headers
    return error_of(response.status, body, headers.get("Retry-After"), headers.get("X-Request-Id", ""))
