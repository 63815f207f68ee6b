"""Badges of monitors, for other sites: the key in the address shows state and availability, and no more."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from everwatch.api.address_views import BadgeView
from everwatch.api.badge_drawing import ANYWHERE, COLOURS, OTHERWISE, SVG, drawn
from everwatch.api.database import Database
from everwatch.api.past import DAY_MS
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import Problem, not_found, unavailable
from everwatch.api.routing import Answer, Call
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError
from everwatch.encoding.input_models import NO_HIDDEN

# seconds for which caches may keep it: a badge on a page with many visitors costs one query
_KEPT_S = 30
_HEADERS = {"Cache-Control": f"public, max-age={_KEPT_S}", **ANYWHERE}
_GOOD, _POOR = 0.999, 0.99


class BadgeQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of a badge: the state, or the availability of the last ``days``. ``label``: in place of the name."""

    show: Literal["state", "uptime"] = "state"
    days: Annotated[int, Meta(ge=1, le=90)] = 30
    label: Annotated[str, Meta(max_length=64, pattern=NO_HIDDEN)] = ""


class BadgeJson(msgspec.Struct, frozen=True, rename="camel"):
    """A badge for shields.io (`endpoint`). ``message``: a state, or a share; ``color``: as in the SVG."""

    schema_version: int
    label: str
    message: str
    color: str


class Badges:
    """Handlers of badges."""

    def __init__(self, database: Database, keys: PingKeys, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    async def key(self, call: Call) -> Answer:
        """Show the URL of a monitor's badge, which shows its state without a token."""
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        if await self._database.ask(lambda reader: reader.monitor(user_id, monitor_id)) is None:
            raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
        try:
            key = self._keys.badge_key_of(user_id, monitor_id)
        except EverwatchError:
            raise unavailable("no_ping_secret", "This process does not know the secret of keys yet.") from None
        return Answer(BadgeView(key, f"/badge/{key}.svg", f"/badge/{key}.json"))

    async def svg(self, call: Call, query: BadgeQuery) -> Answer:
        """A monitor's badge as a picture."""
        shown = await self._shown(call, query)
        return Answer(drawn(shown.label, shown.message, shown.color), headers=_HEADERS, media_type=SVG)

    async def as_json(self, call: Call, query: BadgeQuery) -> Answer:
        """A monitor's badge as what shields.io draws."""
        return Answer(await self._shown(call, query), headers=_HEADERS)

    async def _shown(self, call: Call, query: BadgeQuery) -> BadgeJson:
        found = self._keys.badge_of(call.path["key"])
        if found is None:
            raise Problem(404, "not_found", "There is no such badge: the key was never made, or not by this Everwatch.")
        user_id, monitor_id = found
        monitor = await self._database.ask(lambda reader: reader.monitor(user_id, monitor_id))
        label = query.label or (monitor.spec.name if monitor is not None else "") or monitor_id
        if monitor is None:
            return BadgeJson(1, label, "unknown", OTHERWISE)
        if query.show == "state":
            return BadgeJson(1, label, monitor.state.value, COLOURS.get(monitor.state.value, OTHERWISE))
        now = self._clock.now_ms()
        had = await self._database.ask(
            lambda reader: reader.availability(user_id, monitor_id, now - query.days * DAY_MS, now)
        )
        return BadgeJson(1, label, *_share(had.total.availability))


def _share(availability: float | None) -> tuple[str, str]:
    """An availability in words, and its colour. It is rounded down: 100 % is said of 100 % alone."""
    if availability is None:
        return "unknown", OTHERWISE
    hundredths = int(availability * 10_000 + 1e-9)
    state = "up" if availability >= _GOOD else "late" if availability >= _POOR else "down"
    return f"{hundredths / 100:g} %", COLOURS[state]
