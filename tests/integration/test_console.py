"""The console in a browser: pages, actions, keyboard, live events, sign-in, themes, and what its policy forbids.

One server on the store in memory and one browser serve all tests of the module. A test fails if the browser reports an
error or a violation of the content security policy on any page that the test opens.

All in one file: one browser, one API and one set of data, which take longer to start than the tests.
"""

import json
import re
from typing import Any

import pytest
from support import screens
from support.api import START, api, listening
from support.browser import chromium
from support.console_browser import (
    PHONE,
    WIDE,
    Console,
    assert_accessible_and_fitting,
    settled,
    told_until,
    until,
)
from support.identity_provider import CLIENT_ID, CLIENT_SECRET, identity_provider
from support.pictures import OPERATORS, ROWS, STATUS, Look, show
from support.pictures import PAGES as PICTURES

from everwatch.api.logins import new_login
from everwatch.api.operators import new_operator
from everwatch.api.passwords import hash_of
from everwatch.api.permissions import Role
from everwatch.core.clock import SettableClock
from everwatch.kafka.dead_letter_record import DeadLetter, SourcePosition
from everwatch.model import Result, State, Status, Transition
from everwatch.store import Partition, Received, SinkBatch
from everwatch.store.letters import StoredLetter

playwright = pytest.importorskip("playwright.async_api")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(chromium() is None, reason="there is no chromium: apt-get install chromium"),
    pytest.mark.asyncio(loop_scope="module"),
]

MONITOR = "users/saffron-spice/monitors/checkout"


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", screens.COMPARED, ids=lambda look: look.name)
async def test_every_page_is_accessible_and_fits_its_screen(console: Console, look: Look) -> None:
    async with console.context(
        size=look.size, name="Ines Moreau", color_scheme=look.theme, locale="en-GB", reduced_motion="reduce"
    ) as context:
        page = await console.page(context)
        for name in (*PICTURES, STATUS, OPERATORS):
            if name == "sign-in":
                continue
            await show(page, console.running, name)
            if name in PICTURES:
                await page.wait_for_selector(".link-state.live")
            console.pictures[look.name, name] = await page.screenshot()
            await assert_accessible_and_fitting(page, look.theme, look.size)


@pytest.mark.parametrize(("theme", "size"), [("dark", WIDE), ("light", PHONE)], ids=["dark", "light phone"])
async def test_a_status_page_needs_no_one_to_sign_in(console: Console, theme: str, size: Any) -> None:
    async with console.context(role=None, size=size, color_scheme=theme) as context:
        page = await context.new_page()
        page.on("console", lambda message: console.reported.append(message.text))
        await page.goto(f"{console.running.url}/status/{console.running.ping_keys.status_key_of('saffron-spice')}")
        await page.get_by_role("heading", name="Saffron Spice").wait_for()
        await page.get_by_role("heading", name="Checkout").wait_for()
        assert await page.locator(".bars").first.locator("i:visible").count() == (30 if size is PHONE else 90)


async def test_pages_look_as_they_did(console: Console) -> None:
    """Each page is compared with a small picture of it: ``docs/take_console_pictures.py --references`` makes them."""
    made, here = json.loads(screens.MADE_WITH.read_text()), screens.made_with(console.browser)
    if made != here:
        pytest.skip(f"the pictures were made with {made}, here is {here}: letters may look different")
    if not console.pictures:
        pytest.skip("the test that opens every page was not run, and it takes the pictures")
    async with console.context(role=None) as context:
        blank = await context.new_page()
        shares = {
            f"{name}, {look.name}": await screens.difference_of(blank, look, name, console.pictures[look.name, name])
            for look in screens.COMPARED
            for name in screens.COMPARED_PAGES
        }
    assert not {which: f"{share:.1%} of it" for which, share in shares.items() if share > screens.MOST_DIFFERENT}


async def test_no_page_breaks_the_content_security_policy_and_navigation_leads_to_each(console: Console) -> None:
    async with console.opened() as page:
        names = await page.locator(".side .nav a").all_inner_texts()
        for name in names:
            await page.locator(".side .nav a", has_text=name.split("\n")[0]).first.click()
            await page.wait_for_selector(".side a[aria-current=page]")
            await settled(page)
            assert await page.locator(".notice.error").count() == 0, name
        await page.goto(f"{console.running.url}/console/{MONITOR}")
        await page.wait_for_selector("canvas")  # the chart's module was loaded
        await page.goto(f"{console.running.url}/console/nowhere/at/all")
        await page.get_by_role("heading", name="No such page").wait_for()


async def test_overview_counts_what_there_is_and_names_the_worst_first(console: Console) -> None:
    async with console.opened() as page:
        down = page.locator("a.counter", has_text="Down")
        assert (await down.locator(".figure").inner_text()) == "9"
        worst = page.get_by_role("table", name="Monitors that need attention")
        assert "api.cardpay.example" in await worst.locator("tbody tr").first.inner_text()
        assert "6 monitors: no answer within 10 s" in await worst.inner_text()
        assert "status 503, expected 200-299" in await worst.inner_text()
        await page.get_by_role("button", name="By plan").click()
        await page.wait_for_url("**by=plan")
        plans = page.get_by_role("table", name="Monitors by plan")
        await plans.get_by_role("link", name="enterprise").wait_for()
        await down.click()
        await page.wait_for_url("**/console/monitors?state=down&sort=state-since")
        await page.get_by_role("table", name="Monitors", exact=True).wait_for()
        assert await page.locator("tbody tr").count() == 9


async def test_overview_says_which_executor_alone_sees_every_check_fail(console: Console) -> None:
    async def blinded(route: Any) -> None:
        answer = await route.fetch()
        overview = await answer.json()
        overview["results"]["executors"] = [
            {"executor": name, "results": 40, "failures": failures}
            for name, failures in (("executor-bern-1", 40), ("executor-bern-2", 3))
        ]
        await route.fulfill(response=answer, json=overview)

    async with console.context() as context:
        await context.route("**/v1/overview", blinded)
        page = await console.page(context)
        warning = page.get_by_role("alert")
        assert "executor-bern-1 sees every check fail while others do not" in await warning.inner_text()


async def test_a_target_that_fails_for_many_leads_to_the_users_that_it_hits(console: Console) -> None:
    async def more(route: Any) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json={**await answer.json(), "next": "a cursor"})

    async def shared(route: Any) -> None:
        answer = await route.fetch()
        fails = {"target": "saffron-spice.example", "failing": 21, "opened_at": START}
        await route.fulfill(response=answer, json={**await answer.json(), "targets": [fails]})

    async with console.context() as context:
        await context.route("**/v1/monitors?state=down&sort=state-since&limit=50", more)
        await context.route("**/v1/incidents/shared", shared)
        page = await console.page(context)
        # of a page that is not the last one the API counts all
        row = page.get_by_role("table", name="Monitors that need attention").locator("tbody tr").first
        await row.get_by_text("6 monitors: no answer within 10 s", exact=True).wait_for()
        await row.get_by_role("link", name="6 users", exact=True).click()
        await page.locator(".page-head").get_by_text("6 of 24").wait_for()
        await page.goto(f"{console.running.url}/console/{MONITOR}")
        await page.get_by_text("fails for 21 monitors").wait_for()
        await page.get_by_role("link", name="Which users does it hit?").click()
        await page.wait_for_url("**/console/users?target=saffron-spice.example")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("cardpay")
        await page.get_by_role("option", name="Users that api.cardpay.example hits").click()
        await page.wait_for_url("**/console/users?target=api.cardpay.example")


async def test_a_view_is_its_address(console: Console) -> None:
    async with console.opened("monitors?kind=tls&q=lantern") as page:
        assert await page.locator("tbody tr").count() == 1
        await page.get_by_role("searchbox").fill("kestrel")
        await page.wait_for_url("**q=kestrel**")
        await page.get_by_text("the certificate has expired").wait_for()
        await page.reload()
        await page.get_by_text("the certificate has expired").wait_for()
        assert await page.get_by_role("searchbox").input_value() == "kestrel"


async def test_a_start_asks_for_each_thing_once_and_the_next_one_for_no_file_again(console: Console) -> None:
    async with console.context() as context:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url.removeprefix(console.running.url)))
        # pages without the clock of tests, which keeps no entries of performance
        page = await context.new_page()
        await page.goto(f"{console.running.url}/console/monitors?kind=tls&sort=changed")
        await settled(page)
        for url in ("/v1/me", "/v1/monitors?kind=tls&sort=changed&limit=50"):
            assert asked.count(url) == 1, asked
        # the modules of the page are asked for with those of the shell, and not when these have run
        [module] = [url for url in asked if url.endswith("/pages/monitors.js")]
        assert asked.index(module) < asked.index("/v1/counts")
        files = [url for url in asked if url.startswith("/console/@")]
        assert len(files) == len(set(files))
        assert {url.partition("/@")[2].partition("/")[2] for url in files} >= {"bundles/app/main.js", "bundles/all.css"}
        # all else of the first page
        assert len(asked) <= 14, asked
        other = await context.new_page()
        await other.goto(f"{console.running.url}/console/monitors")
        await settled(other)
        loaded = await other.evaluate(
            "performance.getEntriesByType('resource').filter((each) => each.name.includes('/console/@'))"
            ".map((each) => [each.name, each.transferSize])"
        )
        assert len(loaded) >= 4
        assert [name for name, size in loaded if size] == []


async def test_pages_of_a_list_go_on_and_back(console: Console) -> None:
    async with console.opened("monitors") as page:
        first = await page.locator("tbody tr").first.inner_text()
        await page.get_by_role("button", name="Next page").click()
        await page.wait_for_url("**cursor=**")
        await playwright.expect(page.locator("tbody tr").first).not_to_have_text(first, use_inner_text=True)
        await page.get_by_role("button", name="First page").click()
        await playwright.expect(page.locator("tbody tr").first).to_have_text(first, use_inner_text=True)


async def test_monitor_says_why_and_its_bar_is_read_by_keyboard(console: Console) -> None:
    async with console.opened(MONITOR) as page:
        assert "It has been down for" in await page.locator(".verdict").inner_text()
        assert "status 503, expected 200-299" in await page.locator(".verdict").inner_text()
        bar = page.get_by_role("slider")
        await bar.focus()
        await page.keyboard.press("End")
        assert "down" in str(await bar.get_attribute("aria-valuetext"))
        await page.keyboard.press("Home")
        assert "up" in str(await bar.get_attribute("aria-valuetext"))
        await page.get_by_role("button", name="Show as a table").click()
        await page.get_by_role("table", name="States in the last 24h, as a table").wait_for()
        # of the last hour each run is charted, with what it waited for
        await page.get_by_role("button", name="1 h", exact=True).click()
        await page.get_by_role("img", name=re.compile("Duration: from .* first byte: from")).wait_for()


# --- actions ----------------------------------------------------------------------------------------------------------


async def test_monitor_is_paused_resumed_run_changed_and_deleted(console: Console) -> None:
    store = console.running.store

    def held() -> Any:
        return store.monitor("bonsai-co", "mail")

    async with console.opened("users/bonsai-co/monitors/mail") as page:
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
        await page.get_by_text("It has been paused for").wait_for()
        assert held().state is State.PAUSED
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_role("button", name="Pause").wait_for()
        assert held().state is not State.PAUSED
        await page.get_by_role("button", name="Edit").click()
        text = page.get_by_label("Specification (JSON)")
        await text.fill((await text.input_value()).replace('"Mail server"', '"Post office"'))
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("heading", name="Post office").wait_for()
        assert (held().spec.name, held().version) == ("Post office", 2)
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
        await page.wait_for_url("**/console/users/bonsai-co")
        assert held() is None


async def test_a_change_of_a_specification_by_a_signup_is_told_and_one_over_http_with_who_asked(
    console: Console,
) -> None:
    running, user = console.running, "/v1/users/lantern-toys-blog"
    site = {"monitor_id": "blog", "kind": "noop", "schedule": {"every": "1m"}}
    for every in ("1m", "5m"):
        held = {"plan": "enterprise", "monitors": [{**site, "schedule": {"every": every}}]}
        assert (await running.call("PUT", user, body=held)).status < 300
    token = running.token(Role.OPERATOR, name="Tove Lind")
    merge = {"If_Match": "*", "Content_Type": "application/merge-patch+json"}
    changed = await running.call("PATCH", f"{user}/monitors/blog", token=token, body={"name": "Blog"}, **merge)
    assert changed.status == 200, changed.data
    async with console.opened("users/lantern-toys-blog/monitors/blog") as page:
        edits = page.get_by_role("list", name="Changes of the specification").locator("li b")
        await edits.nth(1).wait_for()
        assert await edits.all_inner_texts() == ["Tove Lind", "A signup, or its plan"]


async def test_routes_say_which_of_them_take_the_alert_of_one_monitor(console: Console) -> None:
    async with console.opened("routes?user=bonsai-co&monitor=payments") as page:
        told = page.get_by_role("region", name="Who is told")
        await told.get_by_text("payments-desk").wait_for()
        await page.get_by_label("Its monitor").fill("front-page")
        await page.get_by_text("no: target is bonsai-co.example").wait_for()
        assert "goes to mail and hook" in await told.inner_text()
        await page.get_by_label("Its monitor").fill("none")
        await page.get_by_text("There is no such monitor").wait_for()


async def test_who_paused_a_monitor_is_told(console: Console) -> None:
    await console.running.call("POST", "/v1/users/umbra-lighting/monitors/mail/pause", body={})
    async with console.opened("users/umbra-lighting/monitors/mail") as page:
        await page.get_by_role("link", name="Who changed it").click()
        row = page.get_by_role("table", name="Changes over HTTP").locator("tbody tr").first
        await row.wait_for()
        told = await row.inner_text()
        for part in ("break glass", "admin", "pause", "mail", "umbra-lighting", "done"):
            assert part in told
        await page.get_by_role("button", name="monitor mail ×").click()
        await page.wait_for_url("**/console/audit?user=umbra-lighting")


async def test_an_incident_is_acknowledged_snoozed_and_taken_back(console: Console) -> None:
    async with console.opened(MONITOR) as page:
        await page.get_by_text("Nobody has acknowledged it.").wait_for()
        await page.get_by_role("button", name="Acknowledge").click()
        await page.get_by_text("acknowledged by test", exact=True).wait_for()
        await page.get_by_role("button", name="Snooze").click()
        dialog = page.get_by_role("dialog", name="Snooze checkout")
        await dialog.get_by_label("Snooze for").select_option("8h")
        console.running.clock.advance(1)
        await dialog.get_by_role("button", name="Snooze").click()
        await page.get_by_text("snoozed until").wait_for()
        console.running.clock.advance(1)
        await page.get_by_role("button", name="Take back").click()
        await page.get_by_text("Nobody has acknowledged it.").wait_for()


async def test_a_monitor_is_tried_before_it_is_saved(console: Console) -> None:
    trials = console.running.trials
    trials.requests.clear()
    async with console.opened("users/dockside-cycles") as page:
        await page.get_by_role("button", name="New monitor").click()
        dialog = page.get_by_role("dialog", name="New monitor")
        await dialog.get_by_role("button", name="Try it").click()
        await dialog.get_by_text("by executor-bern-1").wait_for()
        await dialog.get_by_role("textbox", name="Specification").fill("{")
        await dialog.get_by_role("button", name="Try it").click()
        await dialog.get_by_text("This is not JSON").wait_for()
        await dialog.get_by_role("button", name="Cancel").click()
    async with console.opened("users/dockside-cycles/monitors/mail") as page:
        await page.get_by_role("button", name="Edit").click()
        dialog = page.get_by_role("dialog", name="Edit Mail server")
        field = dialog.get_by_role("textbox")
        await field.fill((await field.input_value()).replace('"port": 25', '"port": 26'))
        await dialog.get_by_role("button", name="Try it").click()
        await dialog.get_by_text("by executor-bern-1").wait_for()
    assert [request.kind for request in trials.requests] == ["http", "tcp"]
    assert '"port":26' in trials.requests[1].config
    held = console.running.store.monitor("dockside-cycles", "mail")
    assert held is not None
    assert '"port":25' in held.spec.config


async def test_a_job_is_previewed_begun_shown_and_cancelled(console: Console) -> None:
    async with console.opened("monitors?kind=tls") as page:
        await page.get_by_role("button", name="Bulk job").click()
        dialog = page.get_by_role("dialog", name="Bulk job")
        fit = dialog.get_by_text(re.compile(r"^\d+ monitors$"))
        number = (await fit.inner_text()).split()[0]
        await dialog.get_by_label("How many monitors").fill("3")
        await dialog.get_by_role("button", name="Begin").click()
        await dialog.get_by_text("look at the preview again").wait_for()
        await dialog.get_by_label("How many monitors").fill(number)
        await dialog.get_by_role("button", name="Begin").click()
        await page.wait_for_url("**/console/jobs")
        row = page.get_by_role("table", name="Jobs").locator("tbody tr").first
        await row.get_by_text(f"0 of {number}, 0 %").wait_for()
        assert "kind tls" in await row.inner_text()
        console.running.clock.advance(1)
        await row.get_by_role("button", name="Cancel").click()
        await row.get_by_text("Cancelled").wait_for()
    job = console.running.jobs.all()[0]
    assert (job.action, job.filter.kind) == ("pause", "tls")


async def test_a_view_is_saved_for_all_browsers_and_deleted(console: Console) -> None:
    async with console.context() as context:
        page = await console.page(context, "monitors?state=down&q=ck")
        await page.get_by_role("button", name="Save view").click()
        dialog = page.get_by_role("dialog", name="Save this view")
        await dialog.get_by_label("Name").fill("Broken checkouts")
        await dialog.get_by_role("button", name="Save", exact=True).click()
    async with console.context() as context:
        other = await console.page(context, "monitors")
        await other.get_by_role("link", name="Broken checkouts").click()
        await other.wait_for_url("**/console/monitors?state=down&q=ck")
        await other.get_by_role("button", name="Delete view").click()
        await other.get_by_role("link", name="Broken checkouts").wait_for(state="detached")


async def test_a_target_is_silenced_after_a_preview_and_heard_again(console: Console) -> None:
    async with console.opened("incidents") as page:
        await page.get_by_role("button", name="New silence").click()
        dialog = page.get_by_role("dialog", name="New silence")
        await dialog.get_by_role("button", name="Preview").click()
        await dialog.get_by_text("Name at least one of").wait_for()
        await dialog.get_by_label("Target").fill("kestrel-maps.example")
        await dialog.get_by_label("Reason").fill("new certificate")
        await dialog.get_by_role("button", name="Preview").click()
        await dialog.get_by_text("1 open incident of them").wait_for()
        await dialog.get_by_role("button", name="Silence", exact=True).click()
        table = page.get_by_role("table", name="Silences")
        await table.get_by_text("new certificate").wait_for()
        console.running.clock.advance(1)
        row = table.locator("tbody tr").filter(has_text="new certificate")
        await row.get_by_role("button", name="End").click()
        await row.wait_for(state="detached")


async def test_incidents_are_acknowledged_by_target_and_as_a_selection(console: Console) -> None:
    async with console.opened("incidents") as page:
        targets = page.get_by_role("table", name="Incidents by target")
        await page.get_by_label("Part of the target").fill("FJORD")
        await playwright.expect(targets.locator("tbody tr")).to_have_count(1)
        row = targets.locator("tbody tr").filter(has_text="fjord-outfitters.example")
        await row.get_by_role("button", name="Acknowledge").click()
        await row.get_by_text("acknowledged", exact=True).wait_for()
        await page.get_by_role("button", name="Each incident").click()
        each = page.get_by_role("table", name="Incidents", exact=True)
        seen = each.locator("tbody tr").filter(has_text="fjord-outfitters").filter(has_text="front-page")
        await seen.get_by_text("acknowledged by test").wait_for()
        console.running.clock.advance(1)
        await seen.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Take back").click()
        await seen.get_by_text("acknowledged by test").wait_for(state="detached")
    async with console.opened("incidents", role=Role.VIEWER) as page:
        await page.get_by_role("table", name="Incidents by target").wait_for()
        assert await page.get_by_role("button", name="Acknowledge").count() == 0


async def test_a_file_is_checked_and_imported_and_refused_rows_are_named(console: Console) -> None:
    async with console.opened("import") as page:
        await page.set_input_files("input[type=file]", {"name": "shops.csv", "mimeType": "text/csv", "buffer": ROWS})
        assert await page.get_by_label("Column id is").input_value() == "user_id"
        imported = page.get_by_role("button", name="Import", exact=False)
        assert await imported.is_disabled()
        await page.get_by_role("button", name="Check 4 rows").click()
        await page.get_by_text("2 would be accepted, 2 would be refused").wait_for()
        assert console.running.store.user("nettle-tea") is None
        wrong = page.get_by_role("table", name="Refused rows").locator("tbody tr")
        assert "$.monitors[0].schedule.every" in await wrong.first.inner_text()
        assert (await wrong.last.inner_text()).startswith("5")
        await page.get_by_role("button", name="Import 2 rows").click()
        await page.get_by_text("2 accepted, 2 refused").wait_for()
    user = console.running.store.user("nettle-tea")
    assert user is not None
    assert user.attributes == {"name": "Nettle Tea", "city": "Graz"}


async def test_tasks_are_cancelled_as_a_selection(console: Console) -> None:
    async with console.opened("tasks") as page:
        rows = page.get_by_role("table", name="Tasks").locator("tbody tr")
        for number in (0, 1):
            await rows.nth(number).get_by_role("checkbox").check()
        await page.get_by_role("toolbar").get_by_role("button", name="Cancel").click()
        await page.get_by_role("dialog", name="Cancel 2 tasks").get_by_role("button", name="Cancel the tasks").click()
        await page.get_by_text("2 tasks cancelled.").wait_for()
        await page.get_by_role("button", name="Cancelled").click()
        await page.wait_for_url("**status=cancelled")
        await playwright.expect(rows).to_have_count(2)


async def test_a_person_who_has_never_seen_it_finds_what_matters(console: Console) -> None:
    async with console.opened() as page:
        # does the system keep up, and if not, what is to be done?
        panel = page.locator("section", has=page.get_by_role("heading", name="Does it keep up?"))
        await panel.get_by_text("No: executors").wait_for()
        await panel.get_by_text("1 partition without an owner").wait_for()
        await panel.get_by_text("Start a process: everwatch executor").wait_for()
        # what stands above is there, so that nothing moves any more
        await panel.get_by_text("per second, begun").wait_for()
        # what was refused today, and why?
        await panel.get_by_text("there is no plan 'platinum'").wait_for()
        await panel.get_by_role("link", name="6 records in the last day").click()
        await page.wait_for_url("**/console/dead-letters?hours=24")
        await page.get_by_role("link", name="expected a duration such as 30s or 5m").click()
        await playwright.expect(page.locator(".json mark")).to_have_text('"every": "hourly"')
        # which customers does the outage of a provider hit?
        await page.locator(".side").get_by_role("link", name="Incidents").click()
        row = page.get_by_role("table", name="Incidents by target").locator("tbody tr").first
        await row.get_by_text("no answer within 10 s").wait_for()
        await row.get_by_role("link", name="6 users, 6 monitors").click()
        users = page.get_by_role("table", name="Users").locator("tbody tr")
        await playwright.expect(users).to_have_count(6)
        assert "ops@velvet-florist.example" in await users.last.inner_text()
        # why is a monitor down?
        await page.keyboard.press("Control+k")
        await page.keyboard.type("fjord front")
        await page.get_by_role("option").filter(has_text="Front page").first.wait_for()
        await page.keyboard.press("Enter")
        await page.locator(".verdict", has_text="status 503, expected 200-299").wait_for()
        # who paused one?
        await page.goto(f"{console.running.url}/console/users/paper-crane/monitors/mail")
        await page.locator(".verdict").get_by_text("Paused by Jonas Keller (operator)").wait_for()


async def test_a_dead_letter_is_sent_again_after_it_was_said_what_that_does(console: Console) -> None:
    running = console.running
    where, source = SourcePosition("dead-letters", 2, 0), SourcePosition("signups", 1, 40)
    running.letters.held = [
        DeadLetter(
            where, START, "there is no plan 'x'", "$.plan", "unknown_plan", "worker", source, START, b"ann", b"{}"
        )
    ]
    stored = StoredLetter(
        2, 0, START, "there is no plan 'x'", "there is no plan '…'", "$.plan", "unknown_plan", "worker", "signups", 1,
        40, START, "ann", "ann", "json", '{"user_id": "ann", "plan": "x"}', "",
    )  # fmt: skip
    place = Partition("dead-letters", 2)
    running.store.apply(SinkBatch(START, {place: 1}, letters=[Received(place, 0, START, stored)]))
    async with console.opened("dead-letters") as page:
        await page.get_by_role("link", name="there is no plan 'x'").click()
        await page.get_by_role("button", name="Send it again").click()
        dialog = page.get_by_role("dialog", name="Send 1 record again")
        await dialog.get_by_text("1 record to signups/1").wait_for()
        assert running.letters.sent == []
        await dialog.get_by_role("button", name="Send", exact=True).click()
        await page.get_by_text("1 record sent again").wait_for()
    assert [letter.place for letter in running.letters.sent] == [where]


async def test_a_wrong_change_says_which_field_and_a_lost_one_is_refused(console: Console) -> None:
    async with console.opened("users/dockside-cycles/monitors/mail") as page:
        await page.get_by_role("button", name="Edit").click()
        text = page.get_by_label("Specification (JSON)")
        before = await text.input_value()
        await text.fill(before.replace('"5m"', '"never"'))
        await page.get_by_role("button", name="Save").click()
        assert "schedule" in await page.get_by_role("alert").inner_text()
        # somebody else is faster
        answer = await console.running.call(
            "PATCH",
            "/v1/users/dockside-cycles/monitors/mail",
            body={"name": "Theirs"},
            If_Match="*",
            Content_Type="application/merge-patch+json",
        )
        assert answer.status == 200
        await text.fill(before.replace('"Mail server"', '"Mine"'))
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("alert").get_by_text("version").wait_for()
        assert console.running.store.monitor("dockside-cycles", "mail").spec.name == "Theirs"  # type: ignore[union-attr]


async def test_a_selection_is_paused_by_keyboard_alone(console: Console) -> None:
    async with console.opened("monitors?user=orchard-tea") as page:
        for key in ["j", "x", "j", "x"]:
            await page.keyboard.press(key)
        await page.get_by_text("2 selected").wait_for()
        await page.get_by_role("toolbar").get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).focus()
        await page.keyboard.press("Enter")
        await page.get_by_text("2 monitors paused.").wait_for()
        asleep = [each for each in console.running.store.monitors("orchard-tea") if each.state is State.PAUSED]
        assert len(asleep) == 2


async def test_a_viewer_gets_no_actions_and_a_user_sees_its_own_things_only(console: Console) -> None:
    async with console.opened(MONITOR, role=Role.VIEWER) as page:
        assert await page.get_by_role("button", name="Pause").count() == 0
    async with console.opened("", role=Role.OPERATOR, user_id="juniper-soap") as page:
        assert "Partitions" not in await page.locator(".side").inner_text()
        await page.goto(f"{console.running.url}/console/monitors")
        await settled(page)
        assert await page.locator("tbody tr").count() == 5
        assert await page.locator(".notice.error").count() == 0


# --- keyboard ---------------------------------------------------------------------------------------------------------


async def test_keys_lead_everywhere(console: Console) -> None:
    async with console.opened() as page:
        await page.keyboard.press("g")
        await page.keyboard.press("m")
        await page.wait_for_url("**/console/monitors")
        await settled(page)
        await page.keyboard.press("/")
        await page.keyboard.type("kestrel")
        await page.wait_for_url("**q=kestrel")
        await page.keyboard.press("Escape")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("Velvet")
        await page.get_by_role("option", name=re.compile("velvet", re.I)).first.wait_for()
        await page.keyboard.press("Escape")
        await page.locator("dialog").wait_for(state="detached")
        await page.keyboard.press("?")
        await page.get_by_role("dialog", name="Keys").wait_for()
        await page.keyboard.press("Escape")
        await page.locator("dialog").wait_for(state="detached")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/console/users/kestrel-maps/monitors/**")


async def test_search_finds_by_name_and_opens(console: Console) -> None:
    async with console.opened() as page:
        await page.keyboard.press("Control+k")
        await page.keyboard.type("saffron")
        await page.get_by_role("option").filter(has_text="Checkout").first.wait_for()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/console/users/saffron-spice/**")


# --- live -------------------------------------------------------------------------------------------------------------


async def test_one_stream_serves_all_tabs_and_another_tab_takes_over(console: Console) -> None:
    running = console.running
    async with console.context() as context:
        tabs = [await console.page(context) for _ in range(5)]
        for tab in tabs:
            await tab.wait_for_selector(".link-state.live")
        await until(lambda: running.live.clients == 1)  # those of browsers that went are noticed with the next beat
        await tabs[0].close()
        await until(lambda: running.live.clients == 1 and running.taker is not None)
        news = Transition("lantern-toys", "mail", START, State.UP, State.DOWN, "a live reason", 1)
        await told_until(tabs[-1].locator(".feed", has_text="a live reason"), lambda: running.tell(news))


async def test_live_page_freezes_and_goes_on_and_filters_by_user(console: Console) -> None:
    running = console.running

    def result(user_id: str, reason: str) -> Result:
        return Result(user_id, "mail", START, "tcp", 1, Status.FAILURE, reason, START, 12.0)

    async with console.opened("live") as page:
        await until(lambda: running.live.clients == 1 and running.taker is not None)
        await page.wait_for_selector(".link-state.live")
        before = result("elm-street-records", "before")
        await told_until(page.get_by_text("before").first, lambda: running.tell(before))
        await page.keyboard.press("f")
        await page.get_by_text("Frozen").wait_for()
        running.tell(result("elm-street-records", "meanwhile"))
        await page.get_by_role("button", name=re.compile(r"Resume \(\d+ waiting\)")).click()
        await page.get_by_text("meanwhile").wait_for()
        await page.get_by_role("searchbox").fill("umbra-lighting")
        await page.wait_for_url("**user=umbra-lighting")
        other, own = result("elm-street-records", "of somebody else"), result("umbra-lighting", "of this one")
        await told_until(page.get_by_text("of this one").first, lambda: (running.tell(other), running.tell(own))[1])
        assert await page.get_by_text("of somebody else").count() == 0


async def test_live_page_shows_what_happened_while_the_api_was_away(console: Console) -> None:
    running = console.running

    def change(reason: str) -> Transition:
        return Transition("tidewater-surf", "mail", START, State.UP, State.DOWN, reason, 1)

    async with console.opened("live") as page:
        await page.wait_for_selector(".link-state.live")
        await told_until(page.get_by_text("before it went").first, lambda: running.tell(change("before it went")))
        await running.stop()
        await page.wait_for_selector(".link-state.lost")
        running.tell_later(change("while it was away"))
        await running.start()
        await page.get_by_text("while it was away").wait_for()
        assert await page.get_by_text("while it was away").count() == 1


async def test_api_that_was_killed_is_back_and_nothing_is_missing(console: Console) -> None:
    running = console.running
    async with console.opened("users/granite-coffee/monitors/mail") as page:
        await page.wait_for_selector(".link-state.live")
        await running.stop()
        await page.wait_for_selector(".link-state.lost")
        changed = running.store.monitor("granite-coffee", "mail")
        assert changed is not None
        await running.start()
        await running.call("POST", "/v1/users/granite-coffee/monitors/mail/pause", body={})
        await page.wait_for_selector(".link-state.live")
        await page.get_by_text("It has been paused for").wait_for()


# --- signing in, preferences ------------------------------------------------------------------------------------------


async def test_sign_in_by_link_and_by_token_and_out(console: Console) -> None:
    running = console.running
    async with console.context(role=None) as context:
        page = await console.page(context)
        await page.get_by_role("heading", name="Sign in").wait_for()
        await page.get_by_label("Token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_text("This token is not known").wait_for()
        await page.get_by_label("Token").fill(running.texts[Role.VIEWER])
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()
        assert "everwatch" not in await page.evaluate("document.cookie")  # scripts cannot read it
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in").wait_for()
        made = new_login(Role.ADMIN, running.clock.now_ms())
        running.logins.put(made.record)
        link = made.link(running.url)
        await page.goto(link)
        await page.get_by_role("heading", name="Overview").wait_for()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in").wait_for()
        await page.goto(link)
        await page.get_by_text("That link was used already").wait_for()


async def test_a_status_page_asks_a_stranger_to_sign_in_and_shows_itself_then(console: Console) -> None:
    running = console.running
    async with console.context(role=None) as context:
        page = await context.new_page()
        await page.goto(f"{running.url}/status/on-call")
        await page.get_by_text("Only people who are signed in may read this status page").wait_for()
        await page.get_by_label("Token").fill(running.texts[Role.VIEWER])
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/status/on-call")
        await page.get_by_role("heading", name="What is on call").wait_for()
        # a link of another site brings no cookie along: the console leads on by itself
        await page.goto(f"{running.url}/console/login?to=/status/on-call")
        await page.wait_for_url("**/status/on-call")


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", PHONE)])
async def test_an_operator_signs_in_by_keyboard_with_a_password(console: Console, theme: str, size: Any) -> None:
    running, password = console.running, "correct horse battery"
    record = new_operator("ann", Role.VIEWER, hash_of(password), START)
    running.tokens.operators.put(record)
    try:
        async with console.context(role=None, size=size, color_scheme=theme) as context:
            page = await console.page(context, "monitors")
            await page.get_by_label("Name").wait_for()
            await assert_accessible_and_fitting(page, theme, size)
            assert await page.evaluate("document.activeElement.name") == "username"
            await page.keyboard.type("ann")
            await page.keyboard.press("Tab")
            await page.keyboard.type("wrong horse battery")
            await page.keyboard.press("Enter")
            await page.get_by_role("alert").get_by_text("The name or the password is wrong.").wait_for()
            await page.get_by_label("Password").fill(password)
            await page.keyboard.press("Enter")
            await page.get_by_role("heading", name="Monitors").wait_for()
            await context.clear_cookies()
            await page.reload()
            await page.get_by_role("button", name="Use a token").click()
            await page.get_by_label("Token").wait_for()
            await page.get_by_role("button", name="Use a name and a password").click()
            await page.get_by_label("Name").wait_for()
    finally:
        running.tokens.operators.forget("ann")


async def test_a_person_signs_in_through_an_identity_provider_of_another_site_and_out_of_both(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, sock = SettableClock(START), listening()
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with identity_provider(clock, "localhost") as provider:
        provider.claims = {"groups": ["sre"], "preferred_username": "ann"}
        provider.metadata = {"end_session_endpoint": f"{provider.url}/logout"}
        settings = {
            "OIDC_ISSUER": provider.url,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_ROLES": "sre=operator",
            "OIDC_NAME": "Example SSO",
            "API_PUBLIC_URL": address,
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"EVERWATCH_{name}", value)
        async with api(clock=clock, sock=sock) as running, console.context(role=None) as context:
            page = await context.new_page()
            await page.goto(f"{running.url}/console/users")
            button = page.get_by_role("link", name="Sign in with Example SSO")
            await button.wait_for()
            await assert_accessible_and_fitting(page, "light", WIDE)
            await button.press("Enter")
            await page.get_by_role("heading", name="Users").wait_for()
            assert page.url == f"{running.url}/console/users"
            assert "everwatch" not in await page.evaluate("document.cookie")
            await page.get_by_role("button", name="Sign out").click()
            await page.wait_for_url(f"{provider.url}/logout**")
            await page.goto(f"{running.url}/console/users")
            await button.wait_for()
            # groups without a role, and a provider that is away
            provider.claims["groups"] = []
            await button.click()
            await page.get_by_text("none of your groups has a role here").wait_for()
            assert [each.outcome for each in running.audit.entries] == ["done", "done", "no_role"]
            await provider.go_away()
            clock.advance(3 * 3_600_000)
            await page.get_by_label("Token").fill(running.texts[Role.VIEWER])
            await page.keyboard.press("Enter")
            await page.get_by_role("heading", name="Overview").wait_for()


async def test_theme_and_zone_stay_as_they_were_set(console: Console) -> None:
    async with console.context(color_scheme="light") as context:
        page = await console.page(context)
        await page.get_by_role("button", name=re.compile("Theme: auto")).click()
        await page.get_by_role("button", name=re.compile("Theme: light")).click()
        await page.get_by_role("button", name="Times are local: change").click()
        await page.reload()
        await page.get_by_role("button", name="Times are UTC: change").wait_for()
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 17, 19)"


async def test_what_fails_says_what_to_do(console: Console) -> None:
    async with console.opened("users/nobody/monitors/nothing") as page:
        text = await page.locator(".notice.error").first.inner_text()
        assert "nothing" in text and "It may have been deleted" in text
