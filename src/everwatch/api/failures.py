"""Turns an error of a handler, or of aiohttp, into the problem that the client gets."""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from everwatch.api import metrics
from everwatch.api.problems import Problem, invalid, too_deep, unavailable
from everwatch.api.routing import Route
from everwatch.core.clock import Clock
from everwatch.core.errors import AccessError, BrokerUnavailable, InvalidInput, RecordRefused, StoreError
from everwatch.observability.log_throttle import LogThrottle

logger = logging.getLogger(__name__)


class Failures:
    """Problems of requests that failed; logs those that an operator must see. ``deadline_s``: of a request."""

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self._log_throttle = LogThrottle(clock)
        self._deadline_s = deadline_s

    def problem_of(self, error: Exception, route: Route, request_id: str) -> Problem:
        """Return the problem that an error stands for."""
        match error:
            case Problem():
                return error
            case InvalidInput():
                return invalid(error)
            case RecordRefused():
                return Problem(413, "too_large", str(error))
            case BrokerUnavailable():
                return unavailable("kafka_unavailable", str(error))
            case AccessError():
                if self._log_throttle.may_log("access"):
                    logger.warning("%s", error)
                return unavailable("kafka_unavailable", "Kafka does not let this process do that; its log says why.")
            case StoreError():
                if self._log_throttle.may_log("database"):
                    logger.warning("%s", error)
                return unavailable("database_unavailable", "The database cannot be read at the moment.")
            case RecursionError():
                return too_deep()
            case TimeoutError():
                return unavailable("deadline", f"This took longer than {self._deadline_s:g} s.")
            case web.HTTPRequestEntityTooLarge():
                return Problem(413, "too_large", f"The body is larger than {route.body_limit} bytes.")
            case web.HTTPException():
                return of_router(error)
            case HttpProcessingError() | web.PayloadAccessError() | web.RequestPayloadError():
                return Problem(400, "malformed", "The body could not be read.")
            case _:
                metrics.FAILURES.labels(route.name).inc()
                # what was sent may hold secrets, so it is not logged
                logger.error("request %s to %s failed", request_id, route.name, exc_info=error)
                return Problem(500, "unhandled", f"This failed for a reason that is a bug: the log has {request_id}.")


def of_router(error: web.HTTPException) -> Problem:
    """Return the problem that an error of aiohttp's router stands for."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(
            405, "method_not_allowed", f"This path takes {allowed}, not {error.method}.", headers={"Allow": allowed}
        )
    if error.status == 404:
        return Problem(404, "no_such_path", "There is no such path: /openapi.json lists all there are.")
    return Problem(error.status, "refused", error.reason)
