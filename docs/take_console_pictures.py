"""Take the pictures of docs/console.md: every page with a made-up company's data, light and dark, and on a phone.

Run it from the top of the repository: ``uv run python docs/take_console_pictures.py [FOLDER] [PAGE …]``. It starts the
API in this process on the store in memory, needs Debian's chromium, and takes about two minutes. FOLDER is
``docs/pictures`` unless it is said; there the pictures are small WebP files, in any other folder PNG of full size, for
whoever looks for faults. ``--references`` takes those that the tests compare with, into ``tests/data/screens``.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from everwatch.api.permissions import Role

# the company's data is the tests'
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.browser import FLAGS, chromium
from support.console import ConsoleApi, console_api
from support.pictures import LOOKS, OPERATORS, PAGES, PHONE, STATUS, Look, opened, show, smaller
from support.screens import FOLDER, REFERENCED, take_references

KEPT = Path("docs/pictures")
WIDTH, PHONE_WIDTH, QUALITY = 1080, 300, 0.62
ON_PHONE = ["overview", "monitors", "monitor", "incidents", "dead-letters", STATUS]
"""Pages whose pictures on a phone are kept; in other folders there are all."""
ELSEWHERE = [*LOOKS, Look("phone-light", "light", PHONE)]
"""Looks of pictures in other folders."""


async def take(folder: Path, wanted: list[str]) -> None:
    """Take the pictures of these pages, or of all."""
    async with console_api() as running, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        blank = await browser.new_page()
        if folder == FOLDER:
            await take_references(browser, blank, running, FOLDER)
        else:
            for look in LOOKS if folder == KEPT else ELSEWHERE:
                for name in wanted or [*PAGES, STATUS, OPERATORS]:
                    await take_one(browser, blank, running, look, name, folder)
        await browser.close()


async def take_one(browser: Any, blank: Any, running: ConsoleApi, look: Look, name: str, folder: Path) -> None:
    """Take one picture, unless it is one that is not kept."""
    is_phone = look.size == PHONE
    if folder == KEPT and is_phone and name not in ON_PHONE:
        return
    async with opened(browser, running, look, None if name == "sign-in" else Role.ADMIN) as page:
        page.on("pageerror", lambda error: print("error", name, error))
        await show(page, running, name)
        png = await page.screenshot(full_page=folder != KEPT and (is_phone or name in (STATUS, OPERATORS)))
    if folder == KEPT:
        data = await smaller(blank, png, PHONE_WIDTH if is_phone else WIDTH, QUALITY)
        (folder / f"{name}-{look.name}.webp").write_bytes(data)
    else:
        (folder / f"{name}-{look.name}.png").write_bytes(png)


if __name__ == "__main__":
    given = sys.argv[1:]
    target = FOLDER if given == [REFERENCED] else Path(given[0]) if given else KEPT
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(target, given[1:]))
