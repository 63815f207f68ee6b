"""How log lines look: readable text, or JSON for a log collector. Every library's records go the same way."""

import logging
import sys

import structlog

from everwatch.config import LogFormat, Settings

# libraries that tell much more than an operator wants to know, unless asked for
_CHATTY = ("faust", "mode", "kafka", "alembic", "sqlalchemy", "asyncio", "aiohttp")


def set_up_logs(settings: Settings) -> None:
    """Send all log records to stderr in the configured format, from the configured level on."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    last: list[structlog.types.Processor]
    # no local variables in tracebacks: they may hold secrets
    plain = structlog.dev.plain_traceback
    if settings.log_format is LogFormat.JSON:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    if settings.log_level != "DEBUG":
        # they complain about an absent broker several times a second; our own sentences say it once
        for name in ("librdkafka", "aiokafka"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
