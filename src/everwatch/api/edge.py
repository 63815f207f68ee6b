"""The edge: what every request passes before and after its handler. Knows aiohttp; handlers do not."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from everwatch.api import metrics
from everwatch.api.auditing import NOT_LOGGED, Asking, AuditLog, changes_of, refused_change
from everwatch.api.cookies import check_same_origin, cookie_name
from everwatch.api.edge_options import DEFAULT_EDGE, EdgeChecks, EdgeOptions
from everwatch.api.failures import Failures, of_router
from everwatch.api.origins import Origins, preflight_headers
from everwatch.api.permissions import NOBODY, Principal
from everwatch.api.problems import BEHIND, Problem, not_found, unauthorized
from everwatch.api.rate_limiting import Allowance, RateLimiter
from everwatch.api.request_ids import request_id_of
from everwatch.api.request_reading import (
    BodyBudget,
    Hold,
    body_of,
    check_no_key,
    check_no_precondition,
    check_path,
    digest_of,
    query_of,
    read_body,
)
from everwatch.api.responses import SECURITY_HEADERS, is_among, problem_response
from everwatch.api.routing import Answer, Call, Route
from everwatch.api.sending import key_of
from everwatch.api.tokens import Tokens
from everwatch.core.clock import Clock

LONGEST_WAIT_S = 35.0
"""How much longer a command may take: clients may ask to wait 30 s for a worker's answer."""
EVENT_STREAM = "text/event-stream"
_CALL_OF = web.RequestKey("call", Call)
_ALLOWANCE_OF = web.RequestKey("allowance", Allowance)
# a copy per client that must ask whether it still holds
_REVALIDATED = "private, no-cache"
_encode = msgspec.json.Encoder().encode
MOST_WRITTEN = 10_000
"""Users whose last write is remembered: a later read through this process waits until the database has it."""
_THAT_READ = ("GET", "HEAD", "PATCH")
RawHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Edge:
    """Turns a route into a handler of aiohttp: authentication, permission, validation, deadline, errors, headers."""

    def __init__(
        self,
        tokens: Tokens,
        clock: Clock,
        audit: AuditLog,
        checks: EdgeChecks,
        options: EdgeOptions = DEFAULT_EDGE,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._wait_for_position, self._claim_key, self._has_label = checks
        self._audit = audit
        self._noting: set[asyncio.Task[None]] = set()
        self._origins = Origins(options.origins)
        self._proxies = options.proxies
        self._limiter = RateLimiter(options.requests_per_min)
        self._deadline_s = options.deadline_s
        self._bodies = BodyBudget(options.most_body_bytes)
        self._failures = Failures(clock, options.deadline_s)
        # of the users written last: where in the changelog that stands
        self._written: OrderedDict[str, str] = OrderedDict()

    def handler_of(self, route: Route) -> RawHandler:
        """Return what aiohttp calls for a route."""
        counted = lru_cache(maxsize=64)(lambda status: metrics.REQUESTS.labels(route.name, status))
        seconds = metrics.SECONDS.labels(route.name)

        async def handle(request: web.Request) -> web.StreamResponse:
            began_s = self._clock.monotonic_s()
            request_id = request_id_of(request)
            metrics.IN_FLIGHT.inc()
            try:
                try:
                    answer = await self._answer(route, request)
                except Exception as error:
                    problem = self._failures.problem_of(error, route, request_id)
                    await self._note_refusal(route, request, problem)
                    response = problem_response(problem, request_id, _allowed(request))
                else:
                    if isinstance(answer, web.StreamResponse):  # it was sent already, event by event
                        return answer
                    await self._note_changes(route, request, answer)
                    response = self._response(answer, request, request_id)
                counted(response.status).inc()
                return response
            finally:
                metrics.IN_FLIGHT.dec()
                seconds.observe(self._clock.monotonic_s() - began_s)

        return handle

    @property
    def middleware(self) -> Any:
        """Middleware that turns aiohttp's own errors (no such path, no such method) into problem documents."""

        @web.middleware
        async def as_problems(request: web.Request, handler: RawHandler) -> web.StreamResponse:
            try:
                return await handler(request)
            except web.HTTPException as error:
                if isinstance(error, web.HTTPMethodNotAllowed) and self._origins.is_preflight(request):
                    return web.Response(status=204, headers={**SECURITY_HEADERS, **preflight_headers(error)})
                request_id = request_id_of(request)
                metrics.REQUESTS.labels("none", error.status).inc()
                return problem_response(of_router(error), request_id)

        return as_problems

    async def allow_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let pages of the configured origins read an answer, streams and errors too: before it is sent."""
        self._origins.allow(request, response)

    async def _answer(self, route: Route, request: web.Request) -> Answer | web.StreamResponse:
        loop = asyncio.get_running_loop()
        path = dict(request.match_info)
        headers = self._proxies.believed(request.remote or "", request.headers)
        principal = await self._principal(route, request, headers, path.get("user_id", ""))
        for name in path:
            check_path(name, path[name])
        if request.method not in ("GET", "HEAD"):
            if not route.versioned:
                check_no_precondition(request)
            # senders of pings and webhooks have headers of their own
            if not route.command and not route.permission.is_open:
                check_no_key(request)
        deadline_s = loop.time() + self._deadline_s
        url = request.rel_url
        new_id = uuid4().hex if route.command else ""
        call = Call(
            path,
            headers,
            principal,
            deadline_s,
            raw_path=url.raw_path,
            query_string=url.raw_query_string,
            new_id=new_id,
            address=self._client_of(request),
        )
        request[_CALL_OF] = call
        with self._bodies.held() as hold:
            return await self._handled(route, request, call, hold)

    async def _handled(self, route: Route, request: web.Request, call: Call, hold: Hold) -> Answer | web.StreamResponse:
        """Read what the request brings, and let the route's handler answer."""
        path, deadline_s = call.path, call.deadline_s
        arguments: list[Any] = []
        async with asyncio.timeout_at(deadline_s) as limit:
            if (label := call.principal.label) and "monitor_id" in path:
                user_id, monitor_id = path["user_id"], path["monitor_id"]
                if not await self._has_label(user_id, monitor_id, label):
                    raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
            if route.query is not None:
                arguments.append(query_of(request, route.query))
            elif request.query_string and not route.any_query:
                raise Problem(400, "unknown_parameter", "This takes no query parameters.")
            has_data = request.body_exists and not route.streams
            data = await read_body(request, route.body_limit, hold) if has_data else b""
            if route.streams:
                arguments.append(request)
            elif route.raw:
                arguments.append(data)
            elif route.body is not None:
                arguments.append(body_of(request, route, data))
            if route.command and "Idempotency-Key" in call.headers:
                call = call._replace(request_digest=digest_of(request, data))
            if route.claims_key and call.request_digest:
                await self._claim_key(call.principal, key_of(call), call.request_digest)
            if route.notes:
                call = call._replace(note=partial(self._audit.note, route.name, self._asking_of(request)))
            # strangers ask nothing of the database, and a ping needs none
            position = request.headers.get("Everwatch-After")
            if position is not None and route.permission.scope is not None:
                await self._wait_for_position(position, deadline_s)
            elif _reads(request) and (user_id := path.get("user_id", "")) in self._written:
                await self._wait_for_own_write(user_id, deadline_s)
            if route.command or route.is_patient:
                # it waits for a worker's answer on purpose, or reads a whole topic; and it looks after its own end
                limit.reschedule(deadline_s + LONGEST_WAIT_S)
            if route.streams:
                limit.reschedule(None)
            answer: Answer | web.StreamResponse = await route.handler(call, *arguments)
            if isinstance(answer, Answer) and "user_id" in path and "Everwatch-Position" in answer.headers:
                self._note_write(path["user_id"], answer.headers["Everwatch-Position"])
            return answer

    async def _note_changes(self, route: Route, request: web.Request, answer: Answer) -> None:
        """Tell the audit log of what a request has changed."""
        if route.audited and (changes := changes_of(route, request[_CALL_OF], answer)):
            await self._audit.note(route.name, self._asking_of(request), changes)

    async def _note_refusal(self, route: Route, request: web.Request, problem: Problem) -> None:
        """Tell the audit log of a change that was asked for and refused, or may yet be carried out."""
        call = request.get(_CALL_OF)
        if not route.audited or call is None:
            return
        changes = problem.changes
        if not changes and problem.status not in NOT_LOGGED and call.principal is not NOBODY:
            changes = [refused_change(route, call, problem)]
        if not changes:
            return
        noting = self._audit.note(route.name, self._asking_of(request), changes)
        if problem.status != 503:
            await noting
            return
        # Kafka may be unavailable, and has been waited for already
        task = asyncio.create_task(noting, name="audit entry")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def finish(self, within_s: float) -> None:
        """Wait for entries of the audit log that are under way; give up after ``within_s``."""
        if self._noting:
            await asyncio.wait(self._noting, timeout=within_s)

    def _client_of(self, request: web.Request) -> str:
        return self._proxies.client_of(request.remote or "", request.headers.getall("X-Forwarded-For", []))

    def _asking_of(self, request: web.Request) -> Asking:
        """Token and address of the client; behind a trusted proxy also the address that it was asked by."""
        peer, client = request.remote or "", self._client_of(request)
        return Asking(request[_CALL_OF].principal, peer, client if client != peer else "", request_id_of(request))

    def _note_write(self, user_id: str, position: str) -> None:
        self._written[user_id] = position
        self._written.move_to_end(user_id)
        if len(self._written) > MOST_WRITTEN:
            self._written.popitem(last=False)

    async def _wait_for_own_write(self, user_id: str, deadline_s: float) -> None:
        """Wait until the database has the last write of a user through this process; give up after two seconds."""
        position = self._written[user_id]
        try:
            await self._wait_for_position(position, deadline_s)
        except Problem as problem:
            if problem.code != BEHIND:
                raise
        if self._written.get(user_id) == position:
            del self._written[user_id]

    async def _principal(
        self, route: Route, request: web.Request, headers: CIMultiDictProxy[str], user_id: str
    ) -> Principal:
        permission = route.permission
        if route.same_origin:
            check_same_origin(request.headers)
        if permission.is_open:
            return await self._reader(request, headers) if route.knows_readers else NOBODY
        principal = await self._asking(request, headers)
        request[_CALL_OF] = Call(dict(request.match_info), headers, principal)
        allowance = self._limiter.take(principal.token_id, self._clock.monotonic_s())
        if allowance is not None:
            request[_ALLOWANCE_OF] = allowance
            if allowance.retry_in_s:
                raise Problem(429, "rate_limited", f"The token may make {allowance.limit} requests a minute.")
        if principal.session and request.method not in ("GET", "HEAD"):
            check_same_origin(request.headers)
        if objection := principal.objection(permission, user_id):
            raise Problem(403, "forbidden", f"The token may not do this: {objection}.")
        return principal

    async def _reader(self, request: web.Request, headers: CIMultiDictProxy[str]) -> Principal:
        """The principal of a request that needs none."""
        try:
            return await self._asking(request, headers)
        except Problem:
            return NOBODY

    async def _asking(self, request: web.Request, headers: CIMultiDictProxy[str]) -> Principal:
        """The principal of a request, by its token or else its session cookie. Raises Problem."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        now = self._clock.now_ms()
        if not scheme:
            cookie = request.cookies.get(cookie_name(headers))
            if cookie is None:
                raise unauthorized("This takes a token: send it as 'Authorization: Bearer TOKEN'.", "")
            principal = self._tokens.session(cookie, now)
            if principal is None:
                raise unauthorized("The session is over: log in again.", "invalid_token")
            return principal
        if scheme.lower() != "bearer":
            raise unauthorized("The only authorization scheme is Bearer.", "invalid_request")
        text = text.strip()
        principal = self._tokens.principal(text, now)
        if principal is None and await self._tokens.of_users.renew_for(text, now):
            principal = self._tokens.principal(text, now)
        if principal is None:
            raise unauthorized("The token is not known, was revoked, or has expired.", "invalid_token")
        return principal

    def _response(self, answer: Answer, request: web.Request, request_id: str) -> web.Response:
        headers = {**SECURITY_HEADERS, **_allowed(request), **answer.headers, "X-Request-Id": request_id}
        body = answer.body
        if body is None:
            response = web.Response(status=answer.status, headers=headers)
            for cookie in answer.cookies:
                response.headers.add("Set-Cookie", cookie)
            return response
        data = body if isinstance(body, bytes) else _encode(body)
        is_passing = "Cache-Control" in answer.headers and "no-store" in answer.headers["Cache-Control"]
        if answer.status == 200 and request.method in ("GET", "HEAD") and not is_passing:
            tag = headers.setdefault("ETag", f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"')
            if "Cache-Control" not in answer.headers:
                headers["Cache-Control"] = _REVALIDATED
            if is_among(tag, request.headers.get("If-None-Match", "")):
                return web.Response(status=304, headers=headers)
        headers["Content-Type"] = answer.media_type
        return web.Response(body=data, status=answer.status, headers=headers)


def _reads(request: web.Request) -> bool:
    """Tell whether a request needs the present state from the database, as a change of whatever is there does."""
    return request.method in _THAT_READ or request.headers.get("If-Match", "").strip() == "*"


def _allowed(request: web.Request) -> Mapping[str, str]:
    """Headers with the rest of the token's rate limit; none where there is no limit."""
    allowance = request.get(_ALLOWANCE_OF)
    return {} if allowance is None else allowance.headers
