"""The console in a browser, for tests: pages, what they report, and whether they are accessible."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from everwatch.api.permissions import Role
from support.api import START
from support.browser import FLAGS, chromium, session_cookie
from support.console import ConsoleApi, console_api

AXE = Path(__file__).parent.parent / "data" / "vendor" / "axe.min.js"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}
PATIENCE_MS = 30_000
# what browsers say of a request that was refused or did not arrive, on purpose here
EXPECTED = re.compile(
    r"Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE"
)


class Console:
    """The server, the browser, and what pages reported."""

    def __init__(self, running: ConsoleApi, browser: Any) -> None:
        self.running = running
        self.browser = browser
        self.reported: list[str] = []
        self.pictures: dict[tuple[str, str], bytes] = {}

    @asynccontextmanager
    async def context(
        self, *, role: Role | None = Role.ADMIN, user_id: str = "", name: str = "test", size: Any = WIDE, **more: Any
    ) -> AsyncIterator[Any]:
        """A browser of its own, signed in unless ``role`` is None."""
        context = await self.browser.new_context(viewport=size, timezone_id="UTC", **more)
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (event) => console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI))"
        )
        if role is not None:
            await context.add_cookies([session_cookie(self.running, role, user_id, name=name)])
        try:
            yield context
        finally:
            await context.close()

    async def page(self, context: Any, path: str = "") -> Any:
        """Open a page and wait until its data is there."""
        page = await context.new_page()
        page.on("console", lambda message: message.type == "error" and self._note(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: self._note(f"{page.url}: {error}"))
        await page.clock.set_fixed_time(START / 1_000)
        await page.goto(f"{self.running.url}/console/{path}")
        await settled(page)
        return page

    @asynccontextmanager
    async def opened(self, path: str = "", **more: Any) -> AsyncIterator[Any]:
        """A page in a browser of its own."""
        async with self.context(**more) as context:
            yield await self.page(context, path)

    def _note(self, text: str) -> None:
        if not EXPECTED.search(text):
            self.reported.append(text)


async def settled(page: Any) -> None:
    """Wait until a page shows its title and nothing loads."""
    await page.wait_for_selector("h1")
    await page.wait_for_selector(".skeleton", state="detached")


@asynccontextmanager
async def console_in_browser() -> AsyncIterator[Console]:
    """Serve it from a store in memory, and drive Debian's chromium meanwhile."""
    # the tests are skipped where it is not there
    from playwright.async_api import async_playwright

    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(console_api())
        driver = await stack.enter_async_context(async_playwright())
        browser = await driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        stack.push_async_callback(browser.close)
        yield Console(running, browser)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition of this process."""
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        while not holds():
            await asyncio.sleep(0.02)


async def told_until(shown: Any, tell: Callable[[], None]) -> None:
    """Tell live news until a page shows it: a stream that is only just opened has no past."""
    for _ in range(PATIENCE_MS // 100):
        tell()
        if await shown.count():
            return
        await asyncio.sleep(0.1)
    await shown.wait_for()


async def assert_accessible_and_fitting(page: Any, theme: str, size: Any) -> None:
    await page.evaluate(AXE.read_text())
    await assert_free_of_violations(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], f"{page.url} is too wide"
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(17, 17, 19)") == (theme == "dark")
    # what has other colours in the other theme is the same otherwise
    await page.emulate_media(color_scheme="light" if theme == "dark" else "dark")
    await assert_free_of_violations(page, "color-contrast")
    await page.emulate_media(color_scheme=theme)


async def assert_free_of_violations(page: Any, rule: str = "") -> None:
    """Let axe look at a page, by all its rules or by one."""
    options = {"resultTypes": ["violations"], **({"runOnly": [rule]} if rule else {})}
    found = await page.evaluate("(options) => axe.run(document, options)", options)
    wrong = [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
    assert not wrong, f"{page.url}: {wrong}"
