"""Status pages: what whoever has the key sees, and what nobody does."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from xml.etree import ElementTree

import msgspec
import pytest
from support.api import START, Api, api

from everwatch.api.permissions import Role
from everwatch.api.pinging import PingKeys
from everwatch.api.status_facts import outages_of, windows_of
from everwatch.core.errors import StoreError
from everwatch.model import Maintenance, Monitor, State, Transition, User
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ATOM = "{http://www.w3.org/2005/Atom}"
MONITORS = [
    {"monitor_id": "site", "name": "Web <b>shop</b>", "kind": "http", "config": {"url": "http://inner.example"}},
    {"monitor_id": "mail", "name": "Mail", "kind": "noop", "labels": {"group": "Back office"}},
    {"monitor_id": "secret-job", "kind": "noop", "labels": {"status": "hidden"}},
    {"monitor_id": "later", "kind": "noop", "schedule": {"in": "90m"}},
]


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        attributes = {"name": "Ann & Co", "email": "ann@inner.example"}
        body = {"plan": "pro", "attributes": attributes, "monitors": MONITORS}
        assert (await running.call("PUT", "/v1/users/ann", body=body)).status == 201
        yield running


def now_in(server: Api, monitor_id: str, state: State) -> None:
    """What the changelog would say of a monitor."""
    held = server.store.monitor("ann", monitor_id)
    assert held is not None
    changed = msgspec.structs.replace(held, state=state, state_since=server.clock.now_ms())
    server.worker.put(CatalogueEntry("ann", monitor_id, changed))


def change(at: int, before: State, after: State, monitor_id: str = "site") -> Transition:
    return Transition("ann", monitor_id, at, before, after, "refused by db.inner.example", 1)


def store(server: Api, *changes: Transition) -> None:
    place = Partition("transitions", 0)
    begin = server.store.offsets().get(place, 0)
    received = [Received(place, begin + i, START, each) for i, each in enumerate(changes)]
    server.store.apply(SinkBatch(server.clock.now_ms(), {place: begin + len(changes)}, transitions=received))


async def paths(server: Api) -> dict[str, str]:
    answered = await server.call("GET", "/v1/users/ann/status-page")
    assert answered.status == 200
    found: dict[str, str] = answered.json
    return found


async def page(server: Api) -> str:
    shown = await server.call("GET", (await paths(server))["html"], token=None)
    assert shown.status == 200
    return shown.data.decode()


def words(html: str) -> str:
    """The text of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>", "", html)).split())


async def test_a_page_shows_states_and_outages_to_whoever_has_its_key(server: Api) -> None:
    for monitor_id in ("site", "mail"):
        now_in(server, monitor_id, State.UP)
    assert "Everything works" in words(await page(server))
    store(server, change(START - 3 * HOUR, State.UP, State.DOWN), change(START - 2 * HOUR, State.DOWN, State.UP))
    store(server, change(START - 5 * MINUTE, State.UP, State.DOWN))
    now_in(server, "site", State.DOWN)
    server.clock.advance(31_000)
    shown = words(await page(server))
    assert "Ann &amp; Co" in shown
    assert "1 of 2 does not work" in shown
    assert "Back office" in shown
    assert "shop&lt;/b&gt; is down" in shown
    assert "for 5 min so far" in shown
    assert "for 1 h" in shown


async def test_reasons_targets_attributes_and_hidden_monitors_stay_inside(server: Api) -> None:
    store(server, change(START - HOUR, State.UP, State.DOWN), change(START - HOUR, State.UP, State.DOWN, "secret-job"))
    where = await paths(server)
    for path in (where["html"], where["atom"]):
        shown = (await server.call("GET", path, token=None)).data
        assert b"inner.example" not in shown
        assert b"secret-job" not in shown
        assert b"later" not in shown
        assert b"<b>" not in shown


async def test_a_page_loads_and_runs_nothing_and_its_style_is_the_one_that_is_allowed(server: Api) -> None:
    answered = await server.call("GET", (await paths(server))["html"], token=None)
    html, policy = answered.data.decode(), answered.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", html)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script|<img|<iframe| style=| on\w+=", html)
    assert answered.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answered.headers["Referrer-Policy"] == "no-referrer", "the address is what opens it"


async def test_many_visitors_cost_one_question_in_half_a_minute(server: Api) -> None:
    where = (await paths(server))["html"]
    first = await server.call("GET", where, token=None)
    assert first.headers["Cache-Control"] == "public, max-age=30"
    assert (await server.call("GET", where, token=None, If_None_Match=first.headers["ETag"])).status == 304
    now_in(server, "site", State.DOWN)
    server.failure = StoreError("the database is away")
    assert (await server.call("GET", where, token=None)).data == first.data
    server.failure = None
    server.clock.advance(31_000)
    assert "1 of 2 does not work" in words((await server.call("GET", where, token=None)).data.decode())


async def test_the_feed_has_an_entry_for_each_outage_whose_id_stays(server: Api) -> None:
    store(server, change(START - 3 * HOUR, State.UP, State.DOWN))
    where = (await paths(server))["atom"]

    async def entry() -> dict[str, str]:
        answered = await server.call("GET", where, token=None)
        assert answered.headers["Content-Type"] == "application/atom+xml; charset=utf-8"
        (found,) = ElementTree.fromstring(answered.data).findall(f"{ATOM}entry")
        return {each.tag.removeprefix(ATOM): each.text or "" for each in found}

    begun = await entry()
    assert begun["title"] == "Web <b>shop</b> is down"
    store(server, change(START - 2 * HOUR, State.DOWN, State.UP))
    server.clock.advance(31_000)
    over = await entry()
    assert over["title"] == "Web <b>shop</b> was down"
    assert over["id"] == begun["id"]
    assert over["updated"] > begun["updated"]
    assert where.removeprefix("/status/").removesuffix(".atom") not in over["id"], "an id does not open the page"


async def test_no_other_key_opens_a_page_and_none_is_shown_of_who_has_gone(server: Api) -> None:
    where = await paths(server)
    others = server.ping_keys.key_of("ann"), server.ping_keys.badge_key_of("ann", "site")
    for key in (*others, where["key"][:-1], "x"):
        assert (await server.call("GET", f"/status/{key}", token=None)).code == "not_found"
    assert (await server.call("GET", f"/badge/{where['key']}.svg", token=None)).code == "not_found"
    assert PingKeys().status_of(where["key"]) is None
    theirs = server.token(Role.VIEWER, "bob")
    assert (await server.call("GET", "/v1/users/ann/status-page", token=theirs)).code == "forbidden"
    await server.call("DELETE", "/v1/users/ann")
    server.clock.advance(31_000)
    assert (await server.call("GET", where["html"], token=None)).code == "not_found"


async def test_maintenance_is_no_outage_and_is_announced(server: Api) -> None:
    now_in(server, "site", State.DOWN)
    window = {"start": START - MINUTE, "end": START + HOUR}
    held = server.store.user("ann")
    assert held is not None
    put = msgspec.structs.replace(held, maintenance=(Maintenance(**window),))
    server.worker.put(CatalogueEntry("ann", "", put))
    shown = words(await page(server))
    assert "Everything works" in shown
    assert "Everything now, until" in shown
    assert "Maintenance" in shown


def monitor(monitor_id: str, *maintenance: Maintenance) -> Monitor:
    from everwatch.model import Every, MonitorSpec, Origin, Policy

    spec = MonitorSpec(monitor_id, "noop", "{}", Every(MINUTE), Policy(maintenance=maintenance))
    return Monitor("ann", spec, Origin.SIGNUP, 1, START)


def test_windows_that_recur_are_announced_by_the_one_that_is_on_or_comes_next() -> None:
    nightly = Maintenance(cron="0 2 * * *", timezone="UTC", duration_ms=HOUR)
    far = Maintenance(START + 20 * DAY, START + 21 * DAY)
    over = Maintenance(START - 3 * DAY, START - 2 * DAY)
    user = User("ann", "pro", {}, (), START, START, maintenance=(nightly, far, over))
    two = START // DAY * DAY + 2 * HOUR
    (asleep,) = windows_of(user, [], two - HOUR)
    assert (asleep.begin, asleep.end) == (two, two + HOUR)
    (on,) = windows_of(user, [monitor("m")], two + MINUTE)
    assert (on.name, on.begin) == ("", two)


def test_an_outage_that_became_another_ends_where_that_begins() -> None:
    latest_first = [
        change(5, State.DOWN, State.UP),
        change(4, State.LATE, State.DOWN),
        change(3, State.UP, State.LATE),
        change(2, State.UP, State.DOWN, "other"),
    ]
    found = outages_of(latest_first, [monitor("site")])
    assert [(each.state, each.begin, each.end) for each in found] == [(State.DOWN, 4, 5), (State.LATE, 3, 4)]
