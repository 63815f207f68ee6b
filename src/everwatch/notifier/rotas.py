"""On-call rotas: the person on call at an instant, and the shifts to come. Pure.

A rota is a list of layers, each of which hands over from one to the next by the wall clock of its zone. Of several
layers that apply at an instant the last one counts, and overrides count more than all layers.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from everwatch.model import Cron
from everwatch.notifier.alerts import derived_id
from everwatch.notifier.timing import QuietHours
from everwatch.schedule.cron import cron_times, first_showing, zone_named

Person = dict[str, str]
"""The addresses of one person, by sender: ``{"email": "ada@example.com"}``."""


class Layer(msgspec.Struct, frozen=True):
    """Turns of ``shift_ms`` each, by the wall clock. ``begins``: the first, in local time. ``hours``: only within."""

    people: tuple[str, ...]
    begins: datetime
    shift_ms: int
    hours: QuietHours | None = None


class Override(msgspec.Struct, frozen=True):
    """One person instead of whoever it would be, between two instants; ms."""

    person: str
    begins_at: int
    ends_at: int


class Shift(NamedTuple):
    """One person on call between two instants; ms."""

    person: str
    begins_at: int
    ends_at: int


class Rota(msgspec.Struct, frozen=True):
    """Layers and overrides, the later the more they count."""

    name: str
    timezone: str
    layers: tuple[Layer, ...]
    overrides: tuple[Override, ...] = ()

    def on_call_at(self, at: int) -> str:
        """Return the person on call at an instant; "": none."""
        for override in reversed(self.overrides):
            if override.begins_at <= at < override.ends_at:
                return override.person
        wall = datetime.fromtimestamp(at / 1000, zone_named(self.timezone)).replace(tzinfo=None)
        for layer in reversed(self.layers):
            is_on = layer.hours is None or layer.hours.over_at(at) > at
            if is_on and wall >= layer.begins:
                number = (wall - layer.begins) // timedelta(milliseconds=layer.shift_ms)
                return layer.people[number % len(layer.people)]
        return ""

    def shifts(self, begin: int, end: int) -> list[Shift]:
        """Return the shifts between two instants, cut there; times without anybody are left out."""
        found: list[Shift] = []
        instants = sorted({begin, *(at for at in self._handovers(begin, end) if begin < at < end)})
        for at, until in zip(instants, [*instants[1:], end], strict=True):
            person = self.on_call_at(at)
            if found and found[-1].person == person and found[-1].ends_at == at:
                found[-1] = found[-1]._replace(ends_at=until)
            elif person:
                found.append(Shift(person, at, until))
        return found

    def _handovers(self, begin: int, end: int) -> Iterator[int]:
        for override in self.overrides:
            yield override.begins_at
            yield override.ends_at
        zone = zone_named(self.timezone)
        for layer in self.layers:
            yield from _turns(layer, zone, begin, end)
            for cron in () if layer.hours is None else (layer.hours.begins, layer.hours.ends):
                yield from _times(cron, begin, end)


def _turns(layer: Layer, zone: ZoneInfo, begin: int, end: int) -> Iterator[int]:
    shift = timedelta(milliseconds=layer.shift_ms)
    wall = datetime.fromtimestamp(begin / 1000, zone).replace(tzinfo=None)
    turn = layer.begins + max(0, (wall - layer.begins) // shift) * shift
    while (at := first_showing(turn, zone)) < end:
        yield at
        turn += shift


def _times(cron: Cron, begin: int, end: int) -> Iterator[int]:
    at = cron_times(cron).next_after(begin)
    while at is not None and at < end:
        yield at
        at = cron_times(cron).next_after(at)


def calendar_of(rota: Rota, shifts: list[Shift], now: int) -> str:
    """Return shifts as an iCalendar object (RFC 5545), an event each; ids stay the same from export to export."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Everwatch//On call//EN"]
    for shift in shifts:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{derived_id('shift', rota.name, shift.person, shift.begins_at)}",
            f"DTSTAMP:{_basic(now)}",
            f"DTSTART:{_basic(shift.begins_at)}",
            f"DTEND:{_basic(shift.ends_at)}",
            f"SUMMARY:{shift.person} is on call ({rota.name})",
            "END:VEVENT",
        ]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def _basic(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
