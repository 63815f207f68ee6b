"""News of operators' status pages by mail: entered, confirmed, told, ended.

All in one file: one life of a subscription.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from support.api import Answered, Api, api
from support.calls import calls_of
from support.notifying import HOUR, MAIL, MINUTE, RULES, Notifying, transition

from everwatch.api.client_address import TrustedProxies
from everwatch.api.subscribing import PAGE_PER_MIN, PER_MIN
from everwatch.core.config import Settings
from everwatch.kafka.consumed_record import Record
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.incident_requests import SubscriptionRequest
from everwatch.notifier.intake import DELETED
from everwatch.notifier.routes import Relay
from everwatch.notifier.senders.mail import mail_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.silences import Selector
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.notifier.storage import Work
from everwatch.notifier.subscriber_rows import Subscriber
from everwatch.notifier.subscriptions import (
    KEPT_UNCONFIRMED_MS,
    MAIL_WITHIN_MS,
    PER_HOUR,
    forget_unconfirmed,
    take_subscription,
    tell_subscribers,
)

FILE = """
[[pages]]
slug = "shops"
title = "Our shops"
domain = "status.example.com"
subscribe = true
match = { label = { public = "yes" } }

[[pages]]
slug = "quiet"
title = "Quiet"
domain = "quiet.example.com"
match = { kind = "http" }
"""
HOST, ADA = "status.example.com", "ada@example.org"
OPERATORS_ONLY = RULES.replace(
    'email = { to = "{{user.attributes.email}}" }', 'webhook = { url = "https://u.example/" }'
)
PUBLIC = {"labels": {"public": "yes"}}


class Site:
    """The page, its notifier, and a visitor."""

    def __init__(self, server: Api, notifying: Notifying, pages: StatusPagesFile) -> None:
        self.server = server
        self.notifying = notifying
        self.pages = pages

    def passes(self, ms: int) -> None:
        """Let time pass, for the API and the notifier."""
        self.server.clock.advance(ms)
        self.notifying.clock.advance(ms)

    async def enter(self, email: str, host: str = HOST, **headers: str) -> Answered:
        """Enter an address in the page's form."""
        body = f"email={email.replace('@', '%40')}".encode()
        kind = "application/x-www-form-urlencoded"
        answered = await self.server.call(
            "POST", "/subscribe", token=None, body=body, Host=host, Content_Type=kind, **headers
        )
        await self.notifying.work()
        return answered

    async def post(self, path: str) -> Answered:
        body = b"List-Unsubscribe=One-Click"
        answered = await self.server.call("POST", path, token=None, body=body, Host=HOST)
        await self.notifying.work()
        return answered

    def mails(self, to: str = ADA) -> list[Message]:
        """The mails that an address got."""
        return [m for a, m in self.notifying.receiver.got if isinstance(a, MAIL) and a.to == to]

    def link(self, to: str = ADA) -> str:
        """The path of the link in the first mail."""
        found = re.search(r"https://status\.example\.com(/subscription/\S+)\. ", " ".join(self.mails(to)[0].lines))
        assert found
        return found[1]

    async def subscribed(self, to: str = ADA) -> str:
        await self.enter(to)
        path = self.link(to)
        assert (await self.post(f"{path}/confirm")).status == 200
        return path

    async def later(self, ms: int) -> None:
        """Let time pass, and tell subscribers what there is to tell."""
        self.notifying.clock.advance(ms)
        self.notifying.plan()
        pages = {slug: page for slug, page in self.pages.current.items() if page.subscribe}
        tell_subscribers(self.notifying.storage, pages, self.notifying.clock.now_ms())
        await self.notifying.work()


@asynccontextmanager
async def opened_site(tmp_path: Path, proxies: TrustedProxies) -> AsyncIterator[Site]:
    file = tmp_path / "status.toml"
    file.write_text(FILE)
    pages = StatusPagesFile(file)
    notifying = Notifying(Settings(data_dir=tmp_path), rules=OPERATORS_ONLY)
    for user in ("ann", "bob"):
        notifying.sign_up(user, name=f"{user.title()} Ltd")
    async with api(proxies=proxies, status_pages=pages) as running:
        running.stand_beside(notifying)
        yield Site(running, notifying, pages)
    notifying.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path, TrustedProxies()) as site:
        yield site


@pytest.fixture
async def site_behind_proxy(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path, TrustedProxies((ip_network("127.0.0.0/8"),))) as site:
        yield site


async def test_an_address_gets_one_link_and_nothing_else_until_it_is_confirmed(site: Site) -> None:
    assert b"Look into your mailbox" in (await site.enter(ADA)).data
    await site.enter(ADA)
    assert [each.title for each in site.mails()] == ["Confirm your subscription: Our shops"]
    site.notifying.tell(transition("up", "down", 1, "ann", **PUBLIC))
    await site.later(10 * MINUTE)
    assert len(site.mails()) == 1
    shown = await site.server.call("GET", site.link(), token=None, Host=HOST)
    assert b"Send me news" in shown.data
    await site.later(10 * MINUTE)
    assert len(site.mails()) == 1, "opening the link changes nothing"


async def test_a_subscriber_is_told_what_is_down_and_that_it_is_over_once(site: Site) -> None:
    await site.subscribed()
    await site.subscribed("eve@example.org")
    site.notifying.tell(
        transition("up", "down", 1, "ann", reason="refused by db.inner", **PUBLIC),
        transition("up", "down", 1, "bob"),
        transition("up", "down", 1, "bob", "kept", labels={"public": "yes", "status": "hidden"}),
    )
    await site.later(30_000)
    assert len(site.mails()) == 1, "it may be over in a moment"
    for _ in range(3):
        await site.later(2 * MINUTE)
    told = site.mails()[1]
    assert told.title == "Our shops: Ann Ltd: shop is down"
    assert [each.title for each in site.mails("eve@example.org")[1:]] == [told.title]
    assert "inner" not in str(told.lines)
    assert "shop.example" not in str(told.lines)
    site.notifying.tell(transition("down", "up", 600, "ann", **PUBLIC))
    for _ in range(3):
        await site.later(5 * MINUTE)
    assert [each.title for each in site.mails()[2:]] == ["Our shops: Ann Ltd: shop works again"]


async def test_requests_that_are_read_again_after_an_hour_are_answered_by_nothing(site: Site) -> None:
    entered: list[Record] = []
    site.server.take_incidents = entered.extend
    await site.enter(ADA)
    await site.enter("eve@example.org")
    # of an older version: the timestamp of its record says when it was made
    without_instant = msgspec.json.decode(entered[1].value or b"") | {"at": 0, "email": "old@example.org"}
    entered[1] = entered[1]._replace(value=msgspec.json.encode(without_instant))
    site.notifying.clock.advance(MAIL_WITHIN_MS + 1)
    site.notifying.ask(entered)
    await site.notifying.work()
    assert site.mails() == []
    assert len(site.mails("old@example.org")) == 1
    # whoever still wants them enters the address again
    site.server.take_incidents = site.notifying.ask
    site.server.clock.advance(MAIL_WITHIN_MS + 1)
    await site.enter(ADA)
    assert len(site.mails()) == 1


async def test_what_was_paused_or_deleted_or_left_the_page_is_not_told_to_work_again(site: Site) -> None:
    await site.subscribed()
    for monitor in ("paused", "deleted", "moved", "mended"):
        site.notifying.tell(transition("up", "down", 1, "ann", monitor, target="", **PUBLIC))
    await site.later(5 * MINUTE)
    assert site.mails()[-1].title == "Our shops: 4 down"
    site.notifying.tell(
        transition("down", "paused", 600, "ann", "paused", target="", **PUBLIC),
        transition("down", "paused", 600, "ann", "deleted", target="", reason=DELETED, **PUBLIC),
    )
    await site.later(10 * MINUTE)
    assert len(site.mails()) == 2
    site.notifying.tell(transition("down", "up", 900, "ann", "mended", target="", **PUBLIC))
    await site.later(10 * MINUTE)
    assert site.mails()[-1].title == "Our shops: Ann Ltd: mended works again"
    page = site.pages.current["shops"]
    gone = {"shops": page._replace(match=Selector(label={"public": "never"}))}
    tell_subscribers(site.notifying.storage, gone, site.notifying.clock.now_ms())
    await site.notifying.work()
    assert len(site.mails()) == 3
    with site.notifying.storage.begin() as work:
        assert work.announced("shops") == []


async def test_the_open_incidents_are_read_once_for_all_pages(site: Site) -> None:
    for n in range(3):
        site.notifying.tell(transition("up", "down", 1, "ann", f"m-{n}", target="", **PUBLIC))
    site.notifying.plan()
    page = site.pages.current["shops"]
    pages = {slug: page._replace(slug=slug) for slug in ("a", "b", "c")}
    now = site.notifying.clock.now_ms() + HOUR
    with calls_of(Work.open_incidents_after) as looks:
        tell_subscribers(site.notifying.storage, pages, now)
    assert not looks, "nobody subscribes"
    with site.notifying.storage.begin() as work:
        for slug in pages:
            work.put_subscriber(Subscriber(f"s-{slug}", slug, ADA, "https://x", now, now))
    with calls_of(Work.open_incidents_after) as looks:
        tell_subscribers(site.notifying.storage, pages, now)
    assert len(looks) == 2, "a page of incidents, and its end"
    assert len([each for each in site.notifying.deliveries() if each.route.startswith("status:")]) == len(pages)


async def test_many_changes_are_one_mail(site: Site) -> None:
    await site.subscribed()
    for n in range(40):
        site.notifying.tell(transition("up", "down", 1, "ann", f"m-{n}", target="", **PUBLIC))
    await site.later(5 * MINUTE)
    assert site.mails()[-1].title == "Our shops: 40 down"
    assert len(site.mails()) == 2
    assert site.mails()[-1].lines[-2:] == ("… and 10 more", "https://status.example.com/")


async def test_one_click_ends_it(site: Site) -> None:
    path = await site.subscribed()
    site.notifying.tell(transition("up", "down", 1, "ann", **PUBLIC))
    await site.later(5 * MINUTE)
    mail = mail_of(Relay("h", 25, "none", "alerts@example.com"), EmailAddress(to=ADA), site.mails()[-1])
    assert mail["List-Unsubscribe"] == f"<https://status.example.com{path}/end>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (await site.post(f"{path}/end")).status == 200
    site.notifying.tell(transition("down", "up", 600, "ann", **PUBLIC))
    await site.later(10 * MINUTE)
    assert len(site.mails()) == 2
    with site.notifying.storage.look() as work:
        assert work.subscribers("shops") == []


async def test_an_address_that_is_gone_gets_nothing_more(site: Site) -> None:
    await site.subscribed()
    site.notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.GONE, "550 no such mailbox")
    site.notifying.tell(transition("up", "down", 1, "ann", **PUBLIC))
    await site.later(5 * MINUTE)
    count = len(site.mails())
    site.notifying.tell(transition("down", "up", 600, "ann", **PUBLIC))
    await site.later(10 * MINUTE)
    assert len(site.mails()) == count


async def test_what_is_no_address_or_no_page_or_too_much_is_refused(site: Site) -> None:
    for email in ("ada", "ada@example.org%0d%0aBcc:eve@example.org", ""):
        assert (await site.enter(email)).status == 422
    assert (await site.enter(ADA, "quiet.example.com")).status == 404
    assert (await site.enter(ADA, "localhost")).status == 404
    assert (await site.server.call("GET", "/subscription/a.b", token=None)).status == 404
    assert (await site.post("/subscription/a.b/confirm")).status == 404
    statuses = [(await site.enter(f"a{n}@example.org")).status for n in range(PER_MIN + 1)]
    assert statuses[-1] == 429


async def test_a_page_takes_so_many_addresses_wherever_they_come_from(
    site_behind_proxy: Site,
) -> None:
    statuses = [
        (await site_behind_proxy.enter(f"a{n}@example.org", X_Forwarded_For=f"10.0.0.{n}")).status
        for n in range(PAGE_PER_MIN + 1)
    ]
    assert statuses == [200] * PAGE_PER_MIN + [429]


async def test_a_header_that_anybody_may_write_makes_no_other_place(site: Site) -> None:
    statuses = []
    for n in range(PER_MIN + 1):
        body, kind = f"email=a{n}%40example.org".encode(), "application/x-www-form-urlencoded"
        given = {"Host": HOST, "Content_Type": kind, "X_Forwarded_For": f"10.0.0.{n}"}
        statuses.append((await site.server.call("POST", "/subscribe", token=None, body=body, **given)).status)
    assert statuses == [200] * PER_MIN + [429]


async def test_an_address_that_nobody_confirms_is_forgotten(site: Site) -> None:
    await site.enter(ADA)
    forget_unconfirmed(site.notifying.storage, site.notifying.clock.now_ms() + KEPT_UNCONFIRMED_MS + 1)
    site.notifying.clock.advance(1)
    await site.enter(ADA)
    assert len(site.mails()) == 2


async def test_who_declines_is_not_asked_again_for_a_week_and_may_still_confirm(site: Site) -> None:
    await site.enter(ADA)
    path = site.link()
    assert (await site.post(f"{path}/end")).status == 200
    site.passes(3 * HOUR)
    await site.enter(ADA)
    assert len(site.mails()) == 1, "somebody else may have entered it"
    assert (await site.post(f"{path}/confirm")).status == 200
    with site.notifying.storage.look() as work:
        assert [each.email for each in work.subscribers("shops")] == [ADA]
    # who had it and ended it may enter it again
    await site.post(f"{path}/end")
    site.passes(2 * HOUR)
    await site.enter(ADA)
    assert len(site.mails()) == 2
    await site.post(f"{path}/end")
    site.passes(KEPT_UNCONFIRMED_MS + 1)
    forget_unconfirmed(site.notifying.storage, site.notifying.clock.now_ms())
    await site.enter(ADA)
    assert len(site.mails()) == 3


def test_a_page_asks_so_many_addresses_an_hour(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path), rules=OPERATORS_ONLY)
    with notifying.storage.begin() as work:
        for slug, n in (*(("shops", n) for n in range(PER_HOUR + 5)), ("other", 0)):
            take_subscription(work, SubscriptionRequest(slug, f"a{n}@example.org", slug, "https://x"), n)
    assert len([each for each in notifying.deliveries() if each.route == "status:shops"]) == PER_HOUR
    assert len([each for each in notifying.deliveries() if each.route == "status:other"]) == 1
    with notifying.storage.begin() as work:
        take_subscription(work, SubscriptionRequest("shops", "b@example.org", "", "https://x", HOUR), HOUR + PER_HOUR)
    assert "b@example.org" in {each.message.to for each in notifying.deliveries()}
    notifying.close()


async def test_the_form_is_on_the_page_at_its_domain_alone(site: Site) -> None:
    at_domain = await site.server.call("GET", "/", token=None, Host=HOST)
    assert b'action="/subscribe"' in at_domain.data
    assert "form-action 'self'" in at_domain.headers["Content-Security-Policy"]
    assert b"<form" not in (await site.server.call("GET", "/status/shops", token=None)).data
    assert b"<form" not in (await site.server.call("GET", "/", token=None, Host="quiet.example.com")).data
