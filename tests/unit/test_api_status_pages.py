"""Status pages: what whoever has the key sees, and what nobody does."""

import asyncio
import base64
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from xml.etree import ElementTree

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from support.api import START, Api, api, entry

from everwatch.api.database import Database
from everwatch.api.permissions import Role
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import Problem
from everwatch.api.routing import Call
from everwatch.api.status_facts import outages_of, status_facts, windows_of
from everwatch.api.status_pages import StatusPages
from everwatch.api.tokens import new_ping_secret
from everwatch.core.clock import SettableClock
from everwatch.core.errors import StoreError
from everwatch.model import Maintenance, Monitor, State, Transition, User
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.store import CatalogueEntry, MemoryStore, Partition, Received, SinkBatch, Stretch

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
    """Return what the changelog would say of a monitor."""
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
    badge = await server.call("GET", (await paths(server))["badge"], token=None)
    assert (badge.headers["Content-Type"], badge.headers["Cache-Control"]) == ("image/svg+xml", "public, max-age=30")
    assert badge.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert ElementTree.fromstring(badge.data).attrib["aria-label"] == "Ann & Co: 1 of 2 does not work"


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


class CountedStore(MemoryStore):
    """A store that counts the questions of status pages."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def monitors(self, user_id: str) -> list[Monitor]:
        self.asked["monitors"] += 1
        return super().monitors(user_id)

    def history(self, user_id: str = "") -> Iterator[Stretch]:
        self.asked["history"] += 1
        return super().history(user_id)


def counted_store(*monitor_ids: str) -> CountedStore:
    """A store with one user, whose monitors are down."""
    found = CountedStore()
    user = User("ann", "pro", {}, monitor_ids, START, START - DAY)
    monitors = [msgspec.structs.replace(monitor(each), state=State.DOWN, state_since=START) for each in monitor_ids]
    place, entries = Partition("changelog", 0), entry(user, *monitors)
    received = [Received(place, offset, START, each) for offset, each in enumerate(entries)]
    found.apply(SinkBatch(START, {place: len(entries)}, entries=received))
    return found


def call_of(key: str) -> Call:
    return Call({"key": key}, CIMultiDictProxy(CIMultiDict()))


async def test_visitors_that_come_together_cost_one_question_and_one_that_leaves_harms_no_other() -> None:
    found, keys, clock = counted_store("a"), PingKeys(), SettableClock(START)
    keys.put(new_ping_secret(START))
    pages, call = (
        StatusPages(Database(lambda: found, clock), keys, StatusPagesFile(None), clock),
        call_of(keys.status_key_of("ann")),
    )
    leaving = asyncio.create_task(pages.html(call))
    others = [asyncio.create_task(visit(call)) for visit in (pages.html, pages.html, pages.atom)]
    await asyncio.sleep(0)
    leaving.cancel()
    answers = await asyncio.gather(*others)
    assert answers[0].body == answers[1].body
    assert found.asked["monitors"] == 1
    gone = call_of(keys.status_key_of("bob"))
    for outcome in await asyncio.gather(pages.html(gone), pages.html(gone), return_exceptions=True):
        assert isinstance(outcome, Problem)


async def test_a_page_does_not_give_a_newer_key_to_who_has_an_older_one() -> None:
    found, keys, clock = counted_store("a"), PingKeys(), SettableClock(START)
    older, newer = new_ping_secret(START), new_ping_secret(START + 1)
    keys.put(newer)
    newer_key = keys.status_key_of("ann")
    keys.put(older)
    older_key = keys.status_key_of("ann")
    assert older_key != newer_key
    pages = StatusPages(Database(lambda: found, clock), keys, StatusPagesFile(None), clock)
    assert newer_key.encode() in (await pages.html(call_of(newer_key))).body
    assert newer_key.encode() not in (await pages.html(call_of(older_key))).body


def test_the_history_of_a_user_is_read_once_for_all_monitors() -> None:
    found = counted_store("a", "b", "c")
    facts = status_facts(found, "ann", START + HOUR)
    assert facts is not None
    assert found.asked["history"] == 1
    for part in facts.parts:
        alone = found.availability("ann", part.name, START + HOUR - 90 * DAY, START + HOUR, 90)
        assert (part.availability, part.days) == (alone.total.availability, alone.bars)


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
    # decoding base64 passes over characters that are not of its alphabet
    name, _, mac = where["key"].partition(".")
    for key in (*others, where["key"][:-1], "x", f"{name}!.{mac}", f"{name}=.{mac}"):
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


def test_an_outage_that_began_before_the_changes_is_shown() -> None:
    ended = msgspec.structs.replace(change(START, State.DOWN, State.UP), lasted_ms=20 * DAY)
    down = msgspec.structs.replace(monitor("mail"), state=State.DOWN, state_since=START - 30 * DAY)
    asleep = msgspec.structs.replace(down, spec=msgspec.structs.replace(down.spec, monitor_id="other"))
    found = outages_of([ended], [monitor("site"), down, asleep], wrong={"mail"})
    assert [(each.monitor_id, each.begin, each.end) for each in found] == [
        ("site", START - 20 * DAY, START),
        ("mail", START - 30 * DAY, 0),
    ]
