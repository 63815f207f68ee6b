"""Instants as the commands print them: in the time zone of the setting, of ``TZ``, or in UTC. JSON stays in UTC."""

from contextvars import ContextVar
from datetime import UTC, tzinfo

from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.schedule.cron import zone_named
from everwatch.schedule.instant import instant_text

_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


def print_in_zone_of(settings: Settings) -> None:
    """Print instants in the zone that the settings name from now on. Raises SettingsError if there is no such zone."""
    _zone.set(_zone_of(settings))


def time_text(instant_ms: int) -> str:
    """An instant for people: "2026-11-21 08:00:00Z", or in another zone with its offset; any option takes it back."""
    return instant_text(instant_ms, _zone.get())


def _zone_of(settings: Settings) -> tzinfo:
    name = settings.timezone
    if name:
        try:
            return _zone_named(name)
        except ValueError as error:
            raise SettingsError(f"setting EVERWATCH_TIMEZONE: {error}.") from None
    try:
        # what TZ says in other words (POSIX rules, a file) is for other programs
        return _zone_named(settings.system_timezone.removeprefix(":"))
    except ValueError:
        return UTC


def _zone_named(name: str) -> tzinfo:
    return UTC if name in ("", "UTC") else zone_named(name)
