"""Status pages as HTML and as an Atom feed (RFC 4287), from templates. Pure. They run no script and load nothing."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from everwatch.api.badge_drawing import COLOURS, OTHERWISE, drawn
from everwatch.api.console_routes import PAGE_HEADERS
from everwatch.api.incident_views import IncidentView
from everwatch.api.status_facts import ShownMonitor, StatusFacts
from everwatch.model import State
from everwatch.notifier.ack_links import SNOOZES_MS
from everwatch.notifier.status_file import OperatorPage
from everwatch.schedule.duration import describe_duration
from everwatch.store.availability import Bar

_TEMPLATES = Path(__file__).parent / "templates"
_CSS = (_TEMPLATES / "status.css").read_text("utf-8").replace("\n", "")
STYLE_SOURCE = f"'sha256-{b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()}'"
"""Source of the page's style, for a content security policy."""
HTML = "text/html; charset=utf-8"
FORM_PAGE_HEADERS = {
    **PAGE_HEADERS,
    "Content-Security-Policy": f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
"""Headers of a page with a form, which is of one person and kept by nothing on the way."""
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
    """Return the page. ``feed``: the address of its feed."""
    page = _environment.get_template("status.html")
    return page.render(facts=facts, feed=feed, verdict=verdict_of(facts), css=_CSS).encode()


def feed_of(facts: StatusFacts, name: str) -> bytes:
    """Return the feed of outages. ``name``: part of all ids, which stay the same while the page has its key."""
    updated = max((outage.end or outage.begin for outage in facts.outages), default=facts.at)
    feed = _environment.get_template("status.atom")
    return feed.render(facts=facts, name=name, updated=updated, verdict=verdict_of(facts)).encode()


def badge_of(facts: StatusFacts) -> bytes:
    """Return the page's badge: its title, and how many parts do not work."""
    colour = COLOURS["down"] if facts.wrong else COLOURS["up"] if facts.parts else OTHERWISE
    return drawn(facts.title, _sum_of(facts), colour)


def said_page(page: OperatorPage, text: str, buttons: Sequence[tuple[str, str]]) -> bytes:
    """Return a page that says one thing. ``buttons``: where each sends a form to, and its words."""
    template = _environment.get_template("said.html")
    return template.render(page=page, text=text, buttons=buttons, css=_CSS).encode()


def ack_page(title: str, incidents: Sequence[IncidentView], action: str) -> bytes:
    """Return the page of a link that acknowledges. ``action``: where its buttons send a form to, "" for no buttons."""
    template = _environment.get_template("ack.html")
    snoozes = [(sent, describe_duration(ms)) for sent, ms in SNOOZES_MS.items()]
    return template.render(title=title, incidents=incidents, action=action, snoozes=snoozes, css=_CSS).encode()


def verdict_of(facts: StatusFacts) -> str:
    """Return the heading that sums the page up."""
    named = f": {facts.wrong[0].name}" if len(facts.wrong) == 1 < len(facts.parts) else ""
    return _sum_of(facts) + named


def _sum_of(facts: StatusFacts) -> str:
    wrong, parts = len(facts.wrong), len(facts.parts)
    if wrong:
        return f"{wrong} of {parts} {'does' if wrong == 1 else 'do'} not work"
    return "Everything works" if parts else "Nothing is watched yet"


def _instant(at: int) -> str:
    return f"{datetime.fromtimestamp(at / _SECOND_MS, UTC):%-d %B %Y, %H:%M}"


def _iso(at: int) -> str:
    return f"{datetime.fromtimestamp(at // _SECOND_MS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _share(availability: float | None) -> str:
    """Return an availability as a percentage, rounded down: only an availability of 1 is 100 %."""
    return "not known" if availability is None else f"{int(availability * 10_000 + 1e-9) / 100:g} %"


def _length_of(ms: int) -> str:
    """Return a length of time as text: in minutes if it is longer than one, else in seconds."""
    unit = _SECOND_MS if ms < _MINUTE_MS else _MINUTE_MS
    return describe_duration(max(ms // unit, 1) * unit)


def _text_of(day: Bar) -> str:
    begun = f"{datetime.fromtimestamp(day.begin / _SECOND_MS, UTC):%-d %B}"
    return f"{begun}: {_share(day.availability)}"


def _look(day: Bar) -> str:
    """Return the CSS class of a day: a day with an outage of minutes is ``part``, not ``down``."""
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
    "text_of": _text_of,
    "look": _look,
    "state": _state,
}
