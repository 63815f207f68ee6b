"""Status pages as HTML and as an Atom feed (RFC 4287), from templates. Pure: no script, nothing of others is loaded."""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from everwatch.api.status_facts import ShownMonitor, StatusFacts
from everwatch.model import State
from everwatch.schedule.duration import describe_duration
from everwatch.store.availability import Bar

_TEMPLATES = Path(__file__).parent / "templates"
_CSS = (_TEMPLATES / "status.css").read_text("utf-8").replace("\n", "")
STYLE_SOURCE = f"'sha256-{b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()}'"
"""What a content security policy allows for the page's style."""
_MAINTENANCE = ("◷", "maintenance", "Maintenance")
_STATES = {
    State.UP: ("✓", "up", "Up"),
    State.DOWN: ("✕", "down", "Down"),
    State.LATE: ("!", "late", "Late"),
    State.NEW: ("○", "new", "Not checked yet"),
    State.PAUSED: ("–", "paused", "Paused"),
    State.DONE: ("–", "done", "Over"),
}
_MOST_OF_A_DAY = 0.95
_SECOND_MS, _MINUTE_MS = 1_000, 60_000


def page_of(facts: StatusFacts, feed: str) -> bytes:
    """Return the page. ``feed``: where its feed is."""
    page = _environment.get_template("status.html")
    return page.render(facts=facts, feed=feed, verdict=verdict_of(facts), css=_CSS).encode()


def feed_of(facts: StatusFacts, name: str) -> bytes:
    """Return the feed of outages. ``name``: what tells this page from others, for ids that stay the same."""
    updated = max((outage.end or outage.begin for outage in facts.outages), default=facts.at)
    feed = _environment.get_template("status.atom")
    return feed.render(facts=facts, name=name, updated=updated, verdict=verdict_of(facts)).encode()


def verdict_of(facts: StatusFacts) -> str:
    """All of a page in a few words."""
    wrong, parts = len(facts.wrong), len(facts.parts)
    if wrong:
        return f"{wrong} of {parts} {'does' if wrong == 1 else 'do'} not work"
    return "Everything works" if parts else "Nothing is watched yet"


def _instant(at: int) -> str:
    return f"{datetime.fromtimestamp(at / _SECOND_MS, UTC):%-d %B %Y, %H:%M}"


def _iso(at: int) -> str:
    return f"{datetime.fromtimestamp(at // _SECOND_MS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _share(availability: float | None) -> str:
    """An availability in words, rounded down: 100 % is said of 100 % alone."""
    return "not known" if availability is None else f"{int(availability * 10_000 + 1e-9) / 100:g} %"


def _length_of(ms: int) -> str:
    """A time in words, in minutes if it is longer than one."""
    unit = _SECOND_MS if ms < _MINUTE_MS else _MINUTE_MS
    return describe_duration(max(ms // unit, 1) * unit)


def _told(day: Bar) -> str:
    begun = f"{datetime.fromtimestamp(day.begin / _SECOND_MS, UTC):%-d %B}"
    return f"{begun}: {_share(day.availability)}"


def _look(day: Bar) -> str:
    """How a day is coloured: an outage of minutes is not a day that was lost."""
    if day.availability is None:
        return "unknown"
    return "up" if day.availability == 1 else "part" if day.availability >= _MOST_OF_A_DAY else "down"


def _state(part: ShownMonitor) -> tuple[str, str, str]:
    return _MAINTENANCE if part.in_maintenance else _STATES[part.state]


_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=select_autoescape(["html", "atom"]),
    undefined=StrictUndefined,
)
_environment.filters |= {
    "instant": _instant,
    "iso": _iso,
    "share": _share,
    "length_of": _length_of,
    "told": _told,
    "look": _look,
    "state": _state,
}
