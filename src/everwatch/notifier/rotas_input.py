"""``[people]`` and ``[[rotas]]`` of ``notify.toml`` -> rotas."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.notifier.addresses import TYPES
from everwatch.notifier.rotas import Layer, Override, Person, Rota
from everwatch.notifier.timing import QuietHours
from everwatch.schedule.cron import first_showing, zone_named
from everwatch.schedule.duration import HOUR_MS

LONGEST_SHIFT_MS = 366 * 24 * HOUR_MS
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
LocalTime = Annotated[datetime, msgspec.Meta(tz=False)]


class LayerInput(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"begins": "from", "shift": "every"}
):
    """A layer as the file has it."""

    people: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=1_000)]
    begins: LocalTime
    shift: str = "7d"
    hours: Any = None


class OverrideInput(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"begins": "from", "ends": "to"}
):
    """An override as the file has it."""

    person: Name
    begins: LocalTime
    ends: LocalTime


class RotaInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rota as the file has it."""

    name: Name
    timezone: str = "UTC"
    layers: Annotated[list[LayerInput], msgspec.Meta(min_length=1, max_length=100)]
    overrides: Annotated[list[OverrideInput], msgspec.Meta(max_length=10_000)] = []


def rota_of(
    given: RotaInput,
    field: str,
    people: Mapping[str, Person],
    duration: Callable[[str], int],
    hours_of: Callable[[Any, str, str], QuietHours | None],
) -> Rota:
    """Return the rota that ``given`` means. Raises InvalidInput with the place below ``field``.

    ``duration``: reads a shift's length; ``hours_of``: makes hours of a table, a time zone and its place.
    """
    try:
        zone = zone_named(given.timezone)
    except ValueError as error:
        raise InvalidInput(str(error), f"{field}.timezone") from None
    layers = []
    for index, layer in enumerate(given.layers):
        place = f"{field}.layers[{index}]"
        _check_known(layer.people, people, f"{place}.people")
        try:
            shift_ms = duration(layer.shift)
        except ValueError as error:
            raise InvalidInput(str(error), f"{place}.every") from None
        if not HOUR_MS <= shift_ms <= LONGEST_SHIFT_MS:
            raise InvalidInput("between 1 hour and 366 days", f"{place}.every")
        hours = None if layer.hours is None else hours_of(layer.hours, given.timezone, f"{place}.hours")
        layers.append(Layer(tuple(layer.people), layer.begins, shift_ms, hours))
    overrides = []
    for index, each in enumerate(given.overrides):
        place = f"{field}.overrides[{index}]"
        _check_known([each.person], people, f"{place}.person")
        if each.ends <= each.begins:
            raise InvalidInput("it ends before it begins", f"{place}.to")
        overrides.append(Override(each.person, first_showing(each.begins, zone), first_showing(each.ends, zone)))
    return Rota(given.name, given.timezone, tuple(layers), tuple(overrides))


def check_people(people: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse addresses of people that no sender has. Raises InvalidInput."""
    for name, addresses in people.items():
        for sender in addresses:
            if sender not in TYPES:
                raise InvalidInput(f"an address is one of {', '.join(TYPES)}", f"people.{name}.{sender}")


def _check_known(names: list[str], people: Mapping[str, Person], place: str) -> None:
    if unknown := next((name for name in names if name not in people), ""):
        raise InvalidInput(f"[people] has no {unknown!r}", place)
