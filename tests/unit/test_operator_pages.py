"""Status pages of operators: what the file may say, what visitors see, and what is at the domain of a page."""

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from support.api import START, Api, api

from everwatch.api.permissions import Role
from everwatch.api.status_facts import ShownMonitor, joined
from everwatch.api.status_pages import KEPT_S
from everwatch.core.errors import SettingsError
from everwatch.model import State
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.store import CatalogueEntry

ATOM = "{http://www.w3.org/2005/Atom}"
FILE = """
[[pages]]
slug = "shops"
title = "Example <Shops>"
domain = "status.example.com"
logo = "logo.svg"
url = "https://example.com/"
about = "All shops that we run."
match = { label = { public = "yes" } }

[[pages.maintenance]]
title = "New disks"
from = 2026-11-20T22:00:00Z
to = 2026-11-20T23:00:00+00:00
text = "Orders are taken later."

[[pages.notices]]
title = "Payments were slow"
at = 2026-11-18T08:00:00Z
text = "A provider of ours was to blame."

[[pages]]
slug = "hosts"
title = "Hosts"
match = { target = "shop.example" }
"""
DOMAIN = "Status.Example.com:8443"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    path = tmp_path / "status.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
async def server(file: Path) -> AsyncIterator[Api]:
    pages = StatusPagesFile(file)
    async with api(status_pages=pages) as running:
        for user, public in (("ann", "yes"), ("bob", "yes"), ("eve", "no")):
            site = {
                "monitor_id": "site",
                "name": f"Shop of {user}",
                "kind": "http",
                "config": {"url": "http://shop.example", "bearer": "hush"},
                "labels": {"public": public} | ({"group": "Big shops"} if user == "bob" else {}),
            }
            attributes = {"name": f"{user.title()} Ltd", "email": "inner@shop.example"}
            await running.call("PUT", f"/v1/users/{user}", body={"attributes": attributes, "monitors": [site]})
        yield running


async def shown(server: Api, path: str, **headers: str) -> str:
    answered = await server.call("GET", path, token=None, **headers)
    assert answered.status == 200, answered.data
    assert answered.headers["Cache-Control"] == f"public, max-age={KEPT_S}"
    return answered.data.decode()


async def test_a_page_shows_the_monitors_of_all_users_that_its_selector_has_and_nothing_inner(server: Api) -> None:
    page = await shown(server, "/status/shops")
    assert "Example &lt;Shops&gt;" in page
    for text in ("Shop of ann", "Shop of bob", "Big shops", "Ann Ltd", "New disks", "Payments were slow"):
        assert text in page
    for text in ("Shop of eve", "hush", "inner@shop.example", "shop.example", "<script"):
        assert text not in page
    assert 'src="data:image/svg+xml;base64,' in page
    everywhere = await shown(server, "/status/hosts")
    assert all(f"Shop of {user}" in everywhere for user in ("ann", "bob", "eve"))
    assert (await server.call("GET", "/status/nothing", token=None)).status == 404


async def test_a_monitor_that_is_down_is_on_the_page_and_its_outages_are_in_the_feed(server: Api) -> None:
    held = server.store.monitor("bob", "site")
    assert held is not None
    changed = msgspec.structs.replace(held, state=State.DOWN, state_since=START - 60_000)
    server.worker.put(CatalogueEntry("bob", "site", changed))
    assert "1 of 2 does not work" in await shown(server, "/status/shops")
    feed = ElementTree.fromstring(await shown(server, "/status/shops.atom"))
    titles = [each.findtext(f"{ATOM}title") for each in feed.iter(f"{ATOM}entry")]
    assert titles == ["Payments were slow", "Maintenance: New disks", "Big shops: Shop of bob is down"]
    assert feed.findtext(f"{ATOM}id") == "urn:everwatch:status:page:shops"


async def test_at_its_domain_there_is_the_page_and_neither_the_api_nor_the_console(server: Api) -> None:
    assert "Example &lt;Shops&gt;" in await shown(server, "/", Host=DOMAIN)
    assert 'href="/feed.atom"' in await shown(server, "/", Host=DOMAIN)
    assert "<feed" in await shown(server, "/feed.atom", Host="status.example.com")
    badge = ElementTree.fromstring(await shown(server, "/badge.svg", Host="status.example.com"))
    assert badge.attrib["aria-label"] == "Example <Shops>: Everything works"
    for path in ("/v1/users", "/console/", "/status/hosts", "/openapi.json", "/metrics", "/login"):
        assert (await server.call("GET", path, Host=DOMAIN)).status == 404, path
    assert (await server.call("POST", "/login", body={}, Host=DOMAIN)).status == 404
    elsewhere = await server.call("GET", "/", token=None)
    assert (elsewhere.status, elsewhere.headers["Location"]) == (308, "/console/")
    assert (await server.call("GET", "/feed.atom", token=None)).status == 404


async def test_operators_list_their_pages(server: Api) -> None:
    listed = (await server.call("GET", "/v1/status-pages")).json["items"]
    assert [(each["slug"], each["html"], each["domain"]) for each in listed] == [
        ("shops", "/status/shops", "status.example.com"),
        ("hosts", "/status/hosts", ""),
    ]
    assert (await server.call("GET", "/v1/status-pages", token=server.token(Role.ADMIN, "ann"))).status == 403


def test_a_file_that_changes_is_taken_and_one_that_is_wrong_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = StatusPagesFile(file)
    assert list(pages.current) == ["shops", "hosts"]
    file.write_text(FILE.replace('"hosts"', '"machines"') + "\n")
    pages.look()
    assert list(pages.current) == ["shops", "machines"]
    file.write_text("[[pages]]")
    pages.look()
    pages.look()
    assert list(pages.current) == ["shops", "machines"]
    assert caplog.text.count("the status pages stay as they were") == 1
    assert StatusPagesFile(None).current == {}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('slug = "hosts"', 'slug = "shops"', "page shops: there are two of this slug"),
        ('slug = "hosts"', 'slug = "a.b"', "pages"),
        ('title = "Hosts"', 'title = "Hosts"\ndomain = "status.example.com"', "another page has the domain"),
        ('{ target = "shop.example" }', "{}", "match names at least one of"),
        ('{ target = "shop.example" }', '{ target = "*.example" }', "a whole host"),
        ('"logo.svg"', '"logo.exe"', "a logo is one of"),
        ('"logo.svg"', '"none.svg"', "cannot be read"),
        ("to = 2026-11-20T23", "to = 2026-11-20T21", "ends before it begins"),
        ("from = 2026-11-20T22:00:00Z", "from = 2026-11-20T22:00:00", "timezone"),
        ('"https://example.com/"', '"javascript:x"', "url"),
        ("title =", "tilte =", "tilte"),
        ("about =", 'access = "link"\nabout =', "a page at a domain of its own is public"),
        ("about =", 'access = "friends"\nabout =', "access"),
    ],
)
def test_a_wrong_file_says_what_is_wrong_with_which_page(file: Path, old: str, new: str, reason: str) -> None:
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(SettingsError, match="EVERWATCH_STATUS_FILE") as caught:
        StatusPagesFile(file)
    assert reason in str(caught.value)


def test_parts_that_would_each_have_a_heading_stand_in_one_group() -> None:
    def part(name: str) -> ShownMonitor:
        return ShownMonitor(name, State.UP, False, 1.0, [])

    groups = {user: [part("Certificate")] for user in ("ann", "bob", "eve", "joe")}
    assert [each.name for each in joined(groups)[""]] == ["ann", "bob", "eve", "joe"]
    named = groups | {"ann": [part("Shop")]}
    assert [each.name for each in joined(named)[""]][:2] == ["ann: Shop", "bob: Certificate"]
    assert joined(groups | {"ann": [part("Shop"), part("Mail")]}).keys() == groups.keys()


def with_access(file: Path, server: Api, access: str) -> None:
    text = FILE.replace('slug = "hosts"', f'slug = "hosts"\naccess = "{access}"')
    file.write_text(text + f"# {access}\n")
    server.status_pages.look()


async def test_a_page_with_a_link_is_at_its_secret_address_only(server: Api, file: Path) -> None:
    with_access(file, server, "link")
    assert (await server.call("GET", "/status/hosts", token=None)).status == 404
    assert (await server.call("GET", "/status/hosts")).status == 404, "not with a token either"
    listed = (await server.call("GET", "/v1/status-pages")).json["items"]
    [(where, feed)] = [(each["html"], each["atom"]) for each in listed if each["access"] == "link"]
    assert "hosts" not in where
    assert "Shop of eve" in await shown(server, where)
    assert "<feed" in await shown(server, feed)
    assert (await server.call("GET", f"{where}x", token=None)).status == 404
    with_access(file, server, "public")
    assert (await server.call("GET", where, token=None)).status == 404, "a page that is public has no key"


async def test_a_page_for_people_who_are_signed_in_asks_strangers_to_sign_in(server: Api, file: Path) -> None:
    with_access(file, server, "signed-in")
    stranger = await server.call("GET", "/status/hosts", token=None)
    assert (stranger.status, stranger.headers["Location"]) == (303, "/console/login?to=/status/hosts")
    over = await server.call("GET", "/status/hosts", token=None, Cookie="everwatch_80=none")
    assert (over.status, b"Shop of eve" in over.data) == (303, False)
    for path in ("/status/hosts.atom", "/status/hosts.svg"):
        assert (await server.call("GET", path, token=None)).status == 401
    for how in ({"Cookie": server.session_of(Role.VIEWER)}, {"Authorization": f"Bearer {server.token(Role.VIEWER)}"}):
        for path, text in (
            ("/status/hosts", b"Shop of eve"), ("/status/hosts.atom", b"<feed"), ("/status/hosts.svg", b"<svg"),
        ):  # fmt: skip
            answered = await server.call("GET", path, token=None, **how)
            assert (answered.status, text in answered.data) == (200, True)
            assert answered.headers["Cache-Control"].startswith("private")
    of_one = await server.call("GET", "/status/hosts", token=server.token(Role.VIEWER, "ann"))
    assert (of_one.status, b"Shop of eve" in of_one.data) == (403, False)


async def test_a_users_page_is_for_people_who_are_signed_in_if_the_user_says_so(server: Api) -> None:
    for said in ("signed-in", "no such word"):
        body = {"attributes": {"name": "Ann Ltd", "status_page": said}}
        assert (await server.call("PUT", "/v1/users/ann", body=body)).status < 300
        where = (await server.call("GET", "/v1/users/ann/status-page")).json["html"]
        stranger = await server.call("GET", where, token=None)
        assert (stranger.status, stranger.headers["Location"]) == (303, f"/console/login?to={where}")
        for token, status in (
            ("", 200),
            (server.token(Role.VIEWER, "ann"), 200),
            (server.token(Role.ADMIN, "bob"), 403),
        ):
            assert (await server.call("GET", where, token=token)).status == status
        server.clock.advance((KEPT_S + 1) * 1_000)
