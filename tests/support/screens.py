"""Pictures that pages are compared with, so that nothing changes its look unseen. They are small, and the comparison is
coarse: letters may be drawn a little differently, panels may not move."""

import json
import subprocess
from pathlib import Path
from typing import Any

from support.console import ConsoleApi
from support.pictures import LOOKS, OPERATORS, PAGES, STATUS, Look, difference, opened, show, smaller

FOLDER = Path(__file__).parent.parent / "data" / "screens"
REFERENCED = "--references"
WIDTH, PHONE_WIDTH, QUALITY = 180, 90, 0.8
MADE_WITH = FOLDER / "made-with.json"
COMPARED = [look for look in LOOKS if look.name != "dark"]
COMPARED_PAGES = [*(name for name in PAGES if name not in ("tokens", "sign-in")), STATUS, OPERATORS]
"""All, status pages too, but the one whose order random ids decide on, and the one that is seen without a session."""
DIFFERS_BY, MOST_DIFFERENT = 40, 0.01
"""How far apart (of 255) a pixel's colours are to count as another, and the share of such pixels that is allowed."""


def width_of(look: Look) -> int:
    """Return how wide a reference of a look is."""
    return PHONE_WIDTH if look.name == "phone" else WIDTH


def place_of(folder: Path, look: Look, name: str) -> Path:
    """Return where the reference of a page is."""
    return folder / f"{name}-{look.name}.webp"


def made_with(browser: Any) -> dict[str, str]:
    """Return what letters depend on: the browser's main version, and the font that it takes."""
    font = subprocess.run(["fc-match", "system-ui"], capture_output=True, text=True, check=False).stdout.strip()
    return {"chromium": browser.version.partition(".")[0], "font": font}


async def take_references(browser: Any, blank: Any, running: ConsoleApi, folder: Path) -> None:
    """Take the references anew."""
    MADE_WITH.write_text(json.dumps(made_with(browser)) + "\n")
    for look in COMPARED:
        async with opened(browser, running, look) as page:
            for name in COMPARED_PAGES:
                await show(page, running, name)
                png = await page.screenshot()
                place_of(folder, look, name).write_bytes(await smaller(blank, png, width_of(look), QUALITY))


async def difference_of(blank: Any, look: Look, name: str, png: bytes) -> float:
    """Return the share of pixels by which a page's picture differs from its reference."""
    # the picture goes the way of the reference, so that only what is shown differs
    now = await smaller(blank, png, width_of(look), QUALITY)
    return await difference(blank, now, place_of(FOLDER, look, name).read_bytes(), DIFFERS_BY)
