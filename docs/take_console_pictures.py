"""Take the pictures of docs/console.md: every page with a made-up company's data, light and dark, wide and on a phone.

Run it from the top of the repository: ``uv run python docs/take_console_pictures.py [FOLDER] [PAGE …]``. It starts the
API in this process on the store in memory, needs Debian's chromium, and takes about a minute. FOLDER is
``docs/pictures`` unless it is said.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from everwatch.api.permissions import Role

# the company's data is the tests'
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.api import START
from support.browser import FLAGS, chromium, session_cookie
from support.console import ConsoleApi, console_api

SEEN = "users/kestrel-maps/monitors/certificate"
MONITOR = "users/saffron-spice/monitors/checkout"
PAGES = {
    "overview": "",
    "monitors": "monitors",
    "monitors-down": "monitors?state=down&sort=state-since",
    "monitor": MONITOR,
    "users": "users",
    "user": "users/saffron-spice",
    "tasks": "tasks",
    "jobs": "jobs",
    "changes": "changes",
    "live": "live",
    "incidents": "incidents",
    "incidents-each": "incidents?view=each",
    "notifications": "notifications",
    "status-pages": "status-pages",
    "partitions": "partitions",
    "dead-letters": "dead-letters",
    "tokens": "tokens",
    "audit": "audit",
}
STATUS, STATUS_USER, OPERATORS = "status-page", "saffron-spice", "operators-page"
KEPT = Path("docs/pictures")
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}
# wide and light, wide and dark, a phone in the dark
LOOKS = {"light": ("light", WIDE), "dark": ("dark", WIDE), "phone": ("dark", PHONE), "phone-light": ("light", PHONE)}


@asynccontextmanager
async def opened(browser: Browser, running: ConsoleApi, theme: Any, size: Any) -> AsyncIterator[Page]:
    """A page of a signed-in browser at the instant of the data."""
    context = await browser.new_context(viewport=size, color_scheme=theme, timezone_id="UTC", locale="en-GB")
    await context.add_cookies([session_cookie(running, Role.ADMIN)])
    page = await context.new_page()
    await page.clock.set_fixed_time(START / 1_000)
    try:
        yield page
    finally:
        await context.close()


async def take(folder: Path, wanted: list[str]) -> None:
    """Take the pictures of these pages, or of all."""
    async with console_api() as running, async_playwright() as playwright:
        await running.call("POST", "/v1/jobs", body={"action": "pause", "filter": {"kind": "tls"}, "expect_count": 24})
        await running.call("POST", f"/v1/{SEEN}/ack")
        match = {"target": "mail.cafe-lumen.example"}
        await running.call("POST", "/v1/silences", body={"match": match, "for": "2h", "reason": "New mail server"})
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for look, (theme, size) in LOOKS.items():
            async with opened(browser, running, theme, size) as page:
                page.on("response", lambda answer: answer.status >= 400 and print(answer.status, answer.url))
                page.on("pageerror", lambda error: print("error", error))
                for name in wanted or [*PAGES, STATUS, OPERATORS]:
                    if name in (STATUS, OPERATORS):
                        key = running.ping_keys.status_key_of(STATUS_USER) if name == STATUS else "checkouts"
                        await page.goto(f"{running.url}/status/{key}")
                        await page.screenshot(path=folder / f"{name}-{look}.png", full_page=folder != KEPT)
                        continue
                    await page.goto(f"{running.url}/console/{PAGES[name]}")
                    await page.wait_for_selector("h1")
                    await page.wait_for_load_state("load")
                    await page.wait_for_selector(".skeleton", state="detached")
                    if name == "live":
                        running.tell_some()
                        await page.wait_for_selector(".stream tbody tr")
                    await page.wait_for_timeout(250)
                    await page.screenshot(
                        path=folder / f"{name}-{look}.png", full_page=size is PHONE and folder != KEPT
                    )
        await browser.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(target, sys.argv[2:]))
