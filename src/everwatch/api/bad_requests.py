"""Log of requests that are no HTTP, or too long: what the server's library says of them without what they hold.

A line that is too long begins with a path, which may hold the key of a ping; and anybody may send as many as they like.
"""

import logging

from aiohttp.http_exceptions import HttpProcessingError

from everwatch.core.clock import Clock
from everwatch.observability.log_throttle import LogThrottle


class WithoutContent(logging.Filter):
    """Leaves the content of requests out of records about requests that cannot be read, and most of these records."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._log_throttle = LogThrottle(clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log a record; what it says of a request is taken out of it."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        kind = type(error).__name__
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        record.msg, record.args = f"{record.getMessage()}: {kind}", ()
        return self._log_throttle.may_log(kind)


def logger_of(clock: Clock) -> logging.Logger:
    """Return the logger for the server's library."""
    found = logging.getLogger("everwatch.api.http")
    for each in list(found.filters):
        found.removeFilter(each)
    found.addFilter(WithoutContent(clock))
    return found
