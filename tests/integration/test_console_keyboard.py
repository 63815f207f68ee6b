"""The console by a person who has a keyboard only: every page is walked, and every action is carried out.

What has the focus must be seen to have it, nothing keeps it, and everything that a pointer can use can have it.

All in one file: one walk of a person through all pages.
"""

import re
from typing import Any

import pytest
from support.api import START
from support.browser import chromium
from support.console_browser import PHONE, WIDE, Console, settled, until
from support.keyboard import Keyboard
from support.pictures import PAGES as PICTURES
from support.pictures import ROWS, incident_of, show

from everwatch.api.permissions import Role
from everwatch.kafka.dead_letter_record import DeadLetter, SourcePosition
from everwatch.model import State

playwright = pytest.importorskip("playwright.async_api")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(chromium() is None, reason="there is no chromium: apt-get install chromium"),
    pytest.mark.asyncio(loop_scope="module"),
]


def dialog(page: Any, name: str) -> Any:
    return page.get_by_role("dialog", name=name)


async def closed(page: Any) -> None:
    """Wait until no dialog is open, and the focus is back in the page."""
    await page.locator("dialog").wait_for(state="detached")


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", PHONE)], ids=["wide", "phone"])
async def test_tab_comes_to_everything_on_every_page_and_is_seen_there(console: Console, theme: str, size: Any) -> None:
    async with console.context(
        size=size, name="Ines Moreau", color_scheme=theme, locale="en-GB", reduced_motion="reduce"
    ) as context:
        page = await console.page(context)
        for name in PICTURES:
            if name != "sign-in":
                await show(page, console.running, name)
                await Keyboard(page).walk()


async def test_monitors_are_filtered_paged_kept_as_a_view_and_a_selection_is_run_paused_and_resumed(
    console: Console,
) -> None:
    store = console.running.store

    def asleep() -> int:
        return sum(each.state is State.PAUSED for each in store.monitors("orchard-tea"))

    async with console.opened() as page:
        keys = Keyboard(page)
        await keys.use("Down")
        await page.wait_for_url("**/console/monitors?state=down**")
        await settled(page)
        await keys.use("All", "button")
        await page.get_by_role("button", name="Next page").wait_for()
        await keys.use("Next page")
        await page.wait_for_url("**cursor=**")
        await settled(page)
        await keys.use("First page")
        await keys.choose("Kind", "tcp")
        await page.wait_for_url("**kind=tcp**")
        await settled(page)
        await keys.use("Save view")
        await keys.type("Mail servers")
        await keys.press("Enter")
        await closed(page)
        await page.get_by_role("link", name="Mail servers").wait_for()
        await keys.use("Delete view")
        await page.get_by_role("link", name="Mail servers").wait_for(state="detached")
        await keys.press("/")
        await keys.type("orchard")
        await page.wait_for_url("**q=orchard**")
        await settled(page)
        await keys.press("Escape", "j", "x", "j", "x")
        await page.get_by_text("2 selected").wait_for()
        await keys.use("Run now")
        await page.get_by_text("2 monitors run now.").wait_for()
        await keys.use("Select this page", key="Space")
        await page.get_by_text("selected").wait_for()
        await keys.use("Pause", "button")
        await keys.choose("Pause", "for 4")
        await keys.use("Pause", "submit")
        await closed(page)
        await until(lambda: asleep() == 5)
        await page.get_by_text("selected").wait_for(state="detached")
        await keys.use("Select this page", key="Space")
        await keys.use("Resume", "button")
        await until(lambda: asleep() == 0)


async def test_a_job_over_a_filter_is_previewed_begun_and_cancelled(console: Console) -> None:
    async with console.opened("monitors?kind=heartbeat") as page:
        keys = Keyboard(page)
        await keys.use("Bulk job")
        fit = dialog(page, "Bulk job").get_by_text(re.compile(r"^\d+ monitors$"))
        number = (await fit.inner_text()).split()[0]
        await keys.choose("Action", "Run")
        await keys.fill("How many", number)
        await keys.press("Enter")
        await page.wait_for_url("**/console/jobs")
        row = page.get_by_role("table", name="Jobs").locator("tbody tr").first
        await row.get_by_text(f"0 of {number}, 0 %").wait_for()
        console.running.clock.advance(1)
        await keys.reach("Skip to the content")
        await keys.press("Enter")
        await keys.use("Cancel", "button")
        await row.get_by_text("Cancelled").wait_for()
        await keys.use("1", "button")
        await page.get_by_role("table", name="Refusals").wait_for()


async def test_a_monitor_is_run_paused_resumed_edited_and_deleted(console: Console) -> None:
    store = console.running.store

    def held() -> Any:
        return store.monitor("bonsai-co", "mail")

    async with console.opened("users/bonsai-co/monitors/mail") as page:
        keys = Keyboard(page)
        await keys.use("Run now")
        await page.get_by_text("runs now").wait_for()
        await keys.press("p")
        await keys.choose("Pause", "for 1 day")
        await keys.use("Pause", "submit")
        await page.get_by_text("It has been paused for").wait_for()
        await closed(page)
        await keys.press("p")
        await until(lambda: held().state is not State.PAUSED)
        await page.get_by_role("button", name="Pause").wait_for()
        await keys.press("e")
        text = page.get_by_label("Specification (JSON)")
        changed = (await text.input_value()).replace('"Mail server"', '"Post office"')
        await keys.fill("Specification", changed)
        await keys.use("Try it")
        await dialog(page, "Edit Mail server").get_by_text("by executor-bern-1").wait_for()
        await keys.use("Save")
        await page.get_by_role("heading", name="Post office").wait_for()
        await closed(page)
        await keys.use("Maintain")
        await keys.choose("Begins", "at")
        await page.get_by_label("Begin (local").fill("2026-11-19T03:00")
        await keys.use("Set")
        await page.get_by_text("Maintenance is announced").wait_for()
        await closed(page)
        await page.get_by_text("19 Nov 03:00").first.wait_for()
        await keys.use("Withdraw this maintenance")
        await until(lambda: not held().spec.policy.maintenance)
        await keys.use("30 d")
        await page.wait_for_url("**range=30d**")
        await keys.reach("States in the last 30d")
        await keys.press("Home", "ArrowRight")
        await keys.use("Show as a table")
        await page.get_by_role("table", name="States in the last 30d, as a table").wait_for()
        await keys.choose("Status", "Fail")
        await page.wait_for_url("**status=failure**")
        await settled(page)
        await keys.use("Delete")
        await keys.use("Delete", "submit")
        await page.wait_for_url("**/console/users/bonsai-co")
        assert held() is None


async def test_a_user_gets_a_monitor_and_maintenance_and_all_is_paused_and_resumed(console: Console) -> None:
    store, user = console.running.store, "willow-furniture"
    async with console.opened(f"users/{user}") as page:
        keys = Keyboard(page)
        await keys.use("New monitor")
        await keys.fill("Id", "blog")
        await keys.use("Create")
        await page.get_by_text("is created").wait_for()
        assert store.monitor(user, "blog") is not None
        await closed(page)
        await keys.use("Maintenance")
        await keys.choose("Lasts", "4")
        await keys.use("Set")
        await page.get_by_text("Maintenance has begun").wait_for()
        await closed(page)
        await keys.use("Withdraw this maintenance")
        await page.get_by_text("The maintenance is withdrawn").wait_for()
        await keys.use("Ask visitors to sign in")
        await page.get_by_text("The page asks visitors to sign in").wait_for()
        assert store.user(user).attributes["status_page"] == "signed-in"
        await page.get_by_text("Only people who are signed in here").wait_for()
        await keys.use("Open it to anyone with the address")
        await page.get_by_text("Whoever has the address reads the page").wait_for()
        assert store.user(user).attributes["status_page"] == "link"
        await keys.use("Pause all")
        await keys.use("Pause all", "submit")
        await closed(page)
        await keys.use("Resume", "button")
        await page.get_by_text("Resumed what the pause").wait_for()
        await keys.use("Copy", "button")


async def test_a_task_is_cancelled_alone_and_as_a_selection(console: Console) -> None:
    async with console.opened("tasks?user=lantern-toys") as page:
        assert await page.locator("tbody tr").count() == 0
    async with console.opened("tasks?status=all") as page:
        keys = Keyboard(page)
        before = await page.get_by_text("Pending", exact=True).count()
        await keys.use("Cancel", "button")
        await keys.use("Cancel the task")
        await closed(page)
        await keys.press("j", "j", "x", "j", "x")
        await page.get_by_text("2 selected").wait_for()
        await keys.use("Cancel", "button")
        await keys.use("Cancel the tasks")
        await closed(page)
        await playwright.expect(page.locator("tbody").get_by_text("Cancelled", exact=True)).to_have_count(3)
        await keys.use("Pending", "button")
        await page.wait_for_url("**/console/tasks")
        await settled(page)
        await playwright.expect(page.locator("tbody tr")).to_have_count(before - 4)


async def test_a_file_is_checked_and_imported(console: Console) -> None:
    async with console.opened("import") as page:
        keys = Keyboard(page)
        # listened for before the first Tab: the browser is told so meanwhile, and a key would not wait for that
        async with page.expect_file_chooser() as chosen:
            await keys.use("CSV or JSON lines")
        file = {"name": "shops.csv", "mimeType": "text/csv", "buffer": ROWS}
        await (await chosen.value).set_files(file)
        await keys.choose("Column city is", "not")
        await keys.use("Check 4 rows")
        await page.get_by_role("table", name="Refused rows").wait_for()
        await keys.use("Import 2 rows")
        await page.get_by_text("2 accepted").wait_for()


async def test_changes_audit_and_partitions_are_filtered(console: Console) -> None:
    async with console.opened("changes") as page:
        keys = Keyboard(page)
        await keys.use("Down", "button")
        await page.wait_for_url("**state=down**")
        await keys.fill("Target", "api.cardpay.example")
        await page.wait_for_url("**target=api.cardpay.example**")
        await settled(page)
        await playwright.expect(page.locator("tbody tr")).to_have_count(6)
        await keys.press("Escape", "g", "a")
        await page.wait_for_url("**/console/audit")
        await settled(page)
        await keys.choose("Time", "Last day")
        await page.wait_for_url("**hours=24**")
        await keys.fill("User", "paper-cr")
        await keys.use("paper-crane", "button")
        await page.wait_for_url("**user=paper-crane")
        await keys.press("Escape", "g", "p")
        await page.wait_for_url("**/console/partitions")
        await settled(page)
        await keys.use("By topic")
        await keys.use("Processes")
        await page.get_by_role("table").first.wait_for()


async def test_live_events_are_frozen_and_go_on(console: Console) -> None:
    async with console.opened("live") as page:
        keys = Keyboard(page)
        await keys.press("f")
        await page.get_by_text("Frozen").wait_for()
        await keys.use("Resume", "button")
        await page.get_by_text("Frozen").wait_for(state="detached")
        await keys.use("Changes of state", "button")
        await page.wait_for_url("**only=transition**")


async def test_an_incident_is_acknowledged_snoozed_taken_back_written_on_and_resolved(console: Console) -> None:
    clock = console.running.clock
    async with console.opened(f"incidents/{await incident_of(console.running)}") as page:
        keys = Keyboard(page)
        await keys.use("Acknowledge")
        await page.get_by_text("acknowledged by test").first.wait_for()
        clock.advance(1)
        await keys.use("Snooze")
        await keys.choose("Snooze for", "8")
        await keys.use("Snooze", "submit")
        await page.get_by_text("snoozed until").first.wait_for()
        await closed(page)
        clock.advance(1)
        await keys.use("Take back")
        await page.get_by_text("by nobody").wait_for()
        await keys.fill("Comment", "The card provider is back.")
        await keys.use("Write it")
        await page.get_by_role("list", name="What happened").get_by_text("The card provider is back.").wait_for()
        clock.advance(1)
        await keys.use("Resolve")
        await keys.use("Resolve", "submit")
        await page.get_by_text("It ended").wait_for()
        await closed(page)


async def test_a_silence_is_previewed_made_and_ended_and_a_selection_of_incidents_acknowledged(
    console: Console,
) -> None:
    async with console.opened("incidents") as page:
        keys = Keyboard(page)
        await keys.use("New silence")
        await keys.fill("Target", "*.fjord-outfitters.example")
        await keys.fill("Reason", "New front page")
        await keys.use("Preview")
        await dialog(page, "New silence").get_by_text("open incident").wait_for()
        await keys.use("Silence", "submit")
        row = page.get_by_role("table", name="Silences").locator("tbody tr").filter(has_text="New front page")
        await row.wait_for()
        await closed(page)
        console.running.clock.advance(1)
        await keys.use("End", "button", row="New front page")
        await row.wait_for(state="detached")
        await keys.use("Each incident")
        await page.wait_for_url("**view=each**")
        await settled(page)
        await keys.press("j", "x", "j", "x")
        await page.get_by_text("2 selected").wait_for()
        await keys.use("Acknowledge")
        await page.get_by_text("2 incidents acknowledged").wait_for()


async def test_messages_are_counted_and_sent_again(console: Console) -> None:
    async with console.opened("notifications") as page:
        keys = Keyboard(page)
        await keys.use("Given up")
        await page.wait_for_url("**state=dead**")
        await settled(page)
        await keys.use("Send again")
        await keys.choose("Of", "the last week")
        await keys.use("Preview")
        await dialog(page, "Send messages again").get_by_text("would be sent again").wait_for()
        await keys.use("Send", "submit")
        await page.get_by_text("sent again; the notifier sends them now").wait_for()
        await closed(page)


async def test_refused_records_are_changed_tried_and_sent_alone_and_in_bulk(console: Console) -> None:
    running = console.running
    letters = [each for each in running.store.dead_letters() if each.partition == 3]
    running.letters.held = [
        DeadLetter(
            SourcePosition("dead-letters", each.partition, each.offset), each.refused_at, each.reason, each.path,
            each.code, each.refused_by, SourcePosition(each.source_topic, 0, each.source_offset), START,
            each.key.encode(), each.value.encode(),
        )
        for each in letters
    ]  # fmt: skip
    async with console.opened("dead-letters?letter=3/3") as page:
        keys = Keyboard(page)
        await keys.use("Edit and send", "button")
        edited = dialog(page, "Edit dead letter 3/3")
        assert (
            await page.evaluate("(at => at.value.slice(at.selectionStart, at.selectionEnd))(document.activeElement)")
            == '"every"'
        )
        text = await edited.get_by_role("textbox").input_value()
        await keys.use("Dry run")
        await edited.get_by_text("Nothing is changed yet").wait_for()
        assert running.letters.sent == []
        await keys.fill("Record", text.replace("hourly", "1h"))
        await keys.use("Dry run")
        await edited.get_by_text("1 record would be sent").wait_for()
        await keys.use("Send", "submit")
        await page.get_by_text("1 record sent again").wait_for()
        await closed(page)
        assert b'"every":"1h"' in (running.letters.sent[-1].value or b"")
        await keys.choose("Code", "unknown_plan")
        await page.wait_for_url("**code=unknown_plan**")
        await settled(page)
        # a drop-down takes letters as the beginning of an option, until it is left
        await keys.press("Escape", "j", "x", "j", "x")
        await page.get_by_text("2 selected").wait_for()
        await keys.use("Edit and send", "button")
        bulk = dialog(page, "Set a field and send")
        assert await bulk.get_by_label("Field").input_value() == "$.plan"
        await keys.fill("New value", '"pro"')
        await keys.use("Dry run")
        await bulk.get_by_text("2 records would be sent").wait_for()
        await keys.use("Send", "submit")
        await page.get_by_text("2 records sent again").wait_for()
        assert all(b'"plan":"pro"' in (each.value or b"") for each in running.letters.sent[-2:])
        await closed(page)
        await keys.use("Set a field in these")
        await keys.fill("New value", '"free"')
        await keys.use("Send", "submit")
        await bulk.get_by_text("redriven at").wait_for()
        await keys.press("Escape")
        await closed(page)


async def test_a_token_is_made_and_revoked(console: Console) -> None:
    async with console.opened("tokens") as page:
        keys = Keyboard(page)
        await keys.use("New token")
        await keys.fill("Name", "wallboard")
        await keys.choose("Role", "operator")
        await keys.use("Make it")
        await keys.use("I have kept it")
        await closed(page)
        tokens = [each for each in console.running.tokens.records() if each.name == "wallboard"]
        assert [each.role for each in tokens] == [Role.OPERATOR]
        row = page.locator("tbody tr").filter(has_text="wallboard")
        await row.wait_for()
        await keys.use("Revoke", "button", row="wallboard")
        await dialog(page, "Revoke wallboard").wait_for()
        await keys.use("Revoke", "submit")
        await row.wait_for(state="detached")


async def test_the_shell_is_used_on_a_wide_screen_and_on_a_phone(console: Console) -> None:
    async with console.opened("users") as page:
        keys = Keyboard(page)
        await keys.use("Times are")
        await keys.use("Theme: auto")
        await page.get_by_role("button", name=re.compile("Theme: light")).wait_for()
        await keys.use("Keys")
        await dialog(page, "Keys").wait_for()
        await keys.press("Escape")
        await closed(page)
        await keys.use("Search monitors")
        await keys.type("partitions")
        await keys.press("Enter")
        await page.wait_for_url("**/console/partitions")
    async with console.opened("users", size=PHONE) as page:
        keys = Keyboard(page)
        await keys.use("Open the navigation")
        await keys.use("Incidents", "a")
        await page.get_by_role("heading", name="Incidents").wait_for()
        await keys.use("Open the navigation")
        await keys.use("Sign out")
        await page.get_by_role("heading", name="Sign in").wait_for()
