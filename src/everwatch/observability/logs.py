"""Log lines: readable text, or JSON for a log collector. Every library's records go the same way."""

import logging
import sys
from typing import TYPE_CHECKING

from everwatch.core.config import LogFormat, Settings

if TYPE_CHECKING:
    import structlog

# libraries that tell much more than an operator wants to know, unless asked for
_CHATTY = ("faust", "mode", "kafka", "alembic", "sqlalchemy", "asyncio", "aiohttp")


def set_up_logs(settings: Settings) -> None:
    """Send all log records to stderr in the configured format, from the configured level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    if settings.log_level != "DEBUG":
        # they complain about an absent broker several times a second; our own sentences say it once
        for name in ("librdkafka", "aiokafka"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    """structlog's formatter, imported with the first line: most commands log none, and it takes long to import."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self._log_format = log_format
        self._formatter: structlog.stdlib.ProcessorFormatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        self._formatter = self._formatter or _structlog_formatter(self._log_format)
        return self._formatter.format(record)


def _structlog_formatter(log_format: LogFormat) -> "structlog.stdlib.ProcessorFormatter":
    import structlog

    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    last: list[structlog.types.Processor]
    # no local variables in tracebacks: they may hold secrets
    plain = structlog.dev.plain_traceback
    if log_format is LogFormat.JSON:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
