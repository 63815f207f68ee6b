"""Retry policy of the client: which failed requests are sent again, and after which pause. Pure but for randomness."""

import random

from everwatch.client.errors import UNREACHABLE, ApiError
from everwatch.client.requests import ApiRequest

FIRST_S = 0.2
LONGEST_S = 5.0
# of these the server, or a proxy before it, says that another time it may go well
_MAY_GO_WELL = frozenset({502, 503, 504})
_NOTHING_WAS_DONE = frozenset({429})


class Unsent(ApiError):
    """No connection came about, so the server has nothing of the request."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, UNREACHABLE, reason)


def pause_s(error: ApiError, request: ApiRequest, attempt: int) -> float | None:
    """Return how long to wait before a request is sent again; None if it must not be.

    ``attempt``: how often it was sent. A request that may have been carried out is sent again only if that does no
    harm.
    """
    nothing_was_done = isinstance(error, Unsent) or error.status in _NOTHING_WAS_DONE
    may_go_well = error.status in _MAY_GO_WELL or error.code == UNREACHABLE
    if not nothing_was_done and not (may_go_well and request.is_repeatable):
        return None
    # in full jitter, so that clients that failed together do not come back together
    backoff_s = random.uniform(0, min(LONGEST_S, FIRST_S * 2**attempt))  # noqa: S311  # no secret hangs on it
    return max(backoff_s, error.retry_after_s or 0.0)
