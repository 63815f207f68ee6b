"""The kind ``publish``: an event on a Kafka topic."""

import re
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from everwatch.core.config import load_settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.encoding.templates import check_template, default_template, render, render_text, tick_id, tick_values
from everwatch.kinds.protocol import SECRET, FieldError, RunContext
from everwatch.kinds.publisher_interface import Event, NotPublished, not_allowed
from everwatch.kinds.shared.secret_fields import check_apart
from everwatch.model import Outcome, Status, Tick

_RESERVED = "everwatch-"
_MOST_HEADERS = 64
_HEADER_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")

# what Kafka takes for a name, except "." and ".."
Topic = Annotated[str, msgspec.Meta(max_length=249, pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]+\Z")]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
SecretText = Annotated[str, msgspec.Meta(max_length=4096, extra=SECRET)]


class PublishConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``template``, ``key`` and the values of the headers are templates (see ``everwatch.encoding.templates``)."""

    topic: Topic
    template: Any = msgspec.field(default_factory=default_template)
    key: Text = "{{user_id}}"
    headers: dict[str, Text] = {}
    secret_headers: dict[str, SecretText] = {}

    def __post_init__(self) -> None:
        # executors decide, by the same settings; here the user gets the error already when the monitor is put
        allowed = _topics_allowed_here()
        if allowed and self.topic not in allowed:
            raise FieldError("topic", not_allowed(self.topic))
        if (count := len(self.headers) + len(self.secret_headers)) > _MOST_HEADERS:
            raise FieldError("headers", f"{count} headers, and at most {_MOST_HEADERS} are sent")
        for field, headers in (("headers", self.headers), ("secret_headers", self.secret_headers)):
            for name in headers:
                if not _HEADER_NAME.fullmatch(name):
                    raise FieldError(field, f"{name!r} is not a header's name")
                if name.lower().startswith(_RESERVED):
                    raise FieldError(field, f"the header {name} is the kind's own to set")
        check_apart(self.headers, self.secret_headers)
        try:
            check_template(self.template, "template")
            check_template(self.key, "key")
            check_template(self.headers, "headers")
            check_template(self.secret_headers, "secret_headers")
        except InvalidInput as error:
            raise FieldError(error.path, error.reason) from None

    def __repr__(self) -> str:
        # headers and template may hold what no log is to show
        return f"PublishConfig(topic={self.topic!r})"


class PublishKind:
    """Writes one event and waits until it is durable. Timings: total, in ms."""

    name = "publish"
    config_type = PublishConfig
    default_schedule_ms = 3_600_000

    @property
    def inline(self) -> Literal[False]:
        return False

    async def run(self, config: PublishConfig, tick: Tick, context: RunContext) -> Outcome:
        """Fill in the templates and publish. The header ``everwatch-tick-id`` is the same at each attempt.

        No template can set the headers that name the tick, its user and its monitor, so consumers may rely on them.
        """
        began_s = context.clock.monotonic_s()
        try:
            values = tick_values(tick)
            headers = [
                (name, render_text(text, values, f"$.config.{field}.{name}").encode())
                for name, (field, text) in sorted(_headers(config).items())
            ]
            event = Event(
                config.topic,
                render_text(config.key, values, "$.config.key").encode() or None,
                render(config.template, values, "$.config.template"),
                (*_own_headers(tick), *headers),
            )
            await context.publisher.publish(event)
            reason = ""
        except (InvalidInput, NotPublished) as error:
            reason = str(error)
        timings = {"total": round((context.clock.monotonic_s() - began_s) * 1000, 3)}
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings)


def _headers(config: PublishConfig) -> dict[str, tuple[str, str]]:
    """The field and the template of each header."""
    plain = {name: ("headers", text) for name, text in config.headers.items()}
    return plain | {name: ("secret_headers", text) for name, text in config.secret_headers.items()}


def _own_headers(tick: Tick) -> list[tuple[str, bytes]]:
    return [
        (f"{_RESERVED}tick-id", tick_id(tick).encode()),
        (f"{_RESERVED}user-id", tick.user_id.encode()),
        (f"{_RESERVED}monitor-id", tick.monitor_id.encode()),
    ]


def forget_settings() -> None:
    """Forget the settings of this process; they are read again when they are needed."""
    _topics_allowed_here.cache_clear()


@cache
def _topics_allowed_here() -> tuple[str, ...]:
    """The topics that this process's settings allow; () where they say nothing, as for a client of a cluster."""
    try:
        return load_settings().publish_topics
    except SettingsError:
        return ()
