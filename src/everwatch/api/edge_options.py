"""Options and checks of the HTTP API's edge: origins, proxies, and limits of requests."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from everwatch.api.client_address import TrustedProxies
from everwatch.api.permissions import Principal
from everwatch.api.request_reading import MOST_BODY_BYTES

DEADLINE_S = 10.0
"""Within which a request is answered, what it waits for on purpose not counted."""
FIRST_REQUEST_S = 10.0
"""A connection on which no whole request has come for this long is closed."""
NO_PROXIES = TrustedProxies()


WaitForPosition = Callable[[str, float], Awaitable[None]]
ClaimKey = Callable[[Principal, str, str], Awaitable[None]]
HasLabel = Callable[[str, str, str], Awaitable[bool]]


class EdgeOptions(NamedTuple):
    """``origins``: those of pages that may call the API. ``proxies``: those whose ``X-Forwarded-…`` count.

    ``requests_per_min``: of one token or address, 0 for no limit. ``first_request_s``: a connection without a whole
    request is closed after it. ``most_body_bytes``: of all bodies that are read at once.
    """

    origins: frozenset[str] = frozenset()
    proxies: TrustedProxies = NO_PROXIES
    requests_per_min: int = 0
    first_request_s: float = FIRST_REQUEST_S
    most_body_bytes: int = MOST_BODY_BYTES
    deadline_s: float = DEADLINE_S


DEFAULT_EDGE = EdgeOptions()


class EdgeChecks(NamedTuple):
    """Checks of a request that ask other parts.

    ``wait_for_position``: waits until the database has a position that a client was given. Raises Problem.
    ``claim_key``: notes an Idempotency-Key. Raises Problem if it was that of another request. ``has_label``: tells
    whether a monitor, by its user and id, has a label.
    """

    wait_for_position: WaitForPosition
    claim_key: ClaimKey
    has_label: HasLabel
