"""Log lines: readable text, or JSON for a log collector. Every library's records go the same way.

JSON lines have the field names of the Elastic Common Schema, which Elasticsearch, OpenSearch and Loki take without a
mapping.
"""

import logging
import sys

from everwatch.core.config import LogFormat, Settings

# libraries that log much more than an operator needs, unless asked for
_CHATTY = ("faust", "mode", "kafka", "alembic", "sqlalchemy", "asyncio", "aiohttp")
# the message says it already, or it is the same in every line
_NOT_SENT = ("log.original", "process.name")
# what every record has, and what ``labelled`` gives; other libraries' extras could be anything
_SENT = frozenset(vars(logging.makeLogRecord({}))) | {"labels", "trace.id", "span.id"}


def set_up_logs(settings: Settings, command: str = "") -> None:
    """Send all log records to stderr in the configured format, from the configured level on.

    ``command`` names the service in JSON lines: ``everwatch-worker`` for ``worker``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(settings, command))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    if settings.log_level != "DEBUG":
        # they complain about an absent broker several times a second; our own sentences say it once
        for name in ("librdkafka", "aiokafka"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)


def labelled(*, trace_id: str = "", span_id: str = "", **labels: object) -> dict[str, object]:
    """Return the subject of a log line, for ``extra=``: labels such as partition, topic, user, monitor and tick (ms).

    JSON lines have them as ``labels.…``, and the ids of a trace as ``trace.id`` and ``span.id``. Text lines do not, so
    the message names what a reader needs.
    """
    fields: dict[str, object] = {"labels": {name: str(value) for name, value in labels.items()}}
    if trace_id:
        fields["trace.id"] = trace_id
    if span_id:
        fields["span.id"] = span_id
    return fields


def labelled_key(partition: int, key: bytes) -> dict[str, object]:
    """The same for an entry of the table, whose key is a user's id and, of a monitor, NUL and the monitor's id."""
    user, _, monitor = key.decode(errors="replace").partition("\0")
    return labelled(partition=partition, user=user, **({"monitor": monitor} if monitor else {}))


class _Formatter(logging.Formatter):
    """The formatter of a library, imported with the first line: most commands log none, and it takes long to import."""

    def __init__(self, settings: Settings, command: str) -> None:
        super().__init__()
        self._settings = settings
        self._command = command
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        if self._formatter is None:
            is_json = self._settings.log_format is LogFormat.JSON
            self._formatter = _json_formatter(self._settings, self._command) if is_json else _text_formatter()
        return self._formatter.format(record)


def _json_formatter(settings: Settings, command: str) -> logging.Formatter:
    import ecs_logging

    from everwatch import __version__

    class JsonFormatter(ecs_logging.StdlibFormatter):
        def format(self, record: logging.LogRecord) -> str:
            known = {name: value for name, value in vars(record).items() if name in _SENT}
            return super().format(logging.makeLogRecord(known))

    service = {
        "service.name": f"everwatch-{command}" if command else "everwatch",
        "service.version": __version__,
        "service.node.name": settings.worker_id or settings.instance,
    }
    return JsonFormatter(extra=service, exclude_fields=_NOT_SENT)


def _text_formatter() -> logging.Formatter:
    import structlog

    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    # no local variables in tracebacks: they may hold secrets
    plain = structlog.dev.plain_traceback
    shown = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, shown]
    )
