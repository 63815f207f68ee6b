"""Pictures of the console's pages: taken by the browser, made smaller and compared by it, too."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from everwatch.api.permissions import Role
from support.api import START
from support.browser import session_cookie
from support.console import ConsoleApi

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}
STATUS, OPERATORS = "status-page", "operators-page"
PAGES = {
    "overview": "",
    "monitors": "monitors",
    "monitor": "users/saffron-spice/monitors/checkout",
    "users": "users",
    "user": "users/saffron-spice",
    "tasks": "tasks",
    "jobs": "jobs",
    "import": "import",
    "changes": "changes",
    "live": "live",
    "incidents": "incidents",
    "incidents-each": "incidents?view=each",
    "incident": "incidents",
    "notifications": "notifications",
    "routes": "routes?user=saffron-spice&monitor=checkout",
    "status-pages": "status-pages",
    "partitions": "partitions",
    "dead-letters": "dead-letters?letter=3/3",
    "audit": "audit",
    "tokens": "tokens",
    "sign-in": "",
}
ROWS = (
    b"id,name,city,plan,monitors\n"
    b'nettle-tea,Nettle Tea,Graz,pro,"[{""kind"":""http"",""config"":{""url"":""https://nettle-tea.example/""}}]"\n'
    b'oak-and-ash,Oak & Ash,Cork,pro,"[{""kind"":""http"",""schedule"":{""every"":""hourly""}}]"\n'
    b"pebble-toys,Pebble Toys,Lyon,free,\n"
    b",Nobody,Porto,free,\n"
)
_SMALLER = """async ([data, width, quality]) => {
  const image = await createImageBitmap(await (await fetch(data)).blob());
  const height = Math.round(image.height * width / image.width);
  const small = await createImageBitmap(image, {resizeWidth: width, resizeHeight: height, resizeQuality: "high"});
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  canvas.getContext("2d").drawImage(small, 0, 0);
  return canvas.toDataURL("image/webp", quality);
}"""
_WHOLE = """() => [...document.querySelectorAll(".mini-bar")].every((bar) => bar.firstElementChild)
  && [...document.images].every((image) => image.complete)"""
# the share of pixels of which a colour differs by more than so much
_DIFFERENCE = """async ([one, other, most]) => {
  const [now, then] = await Promise.all([one, other].map(async (data) => {
    const image = await createImageBitmap(await (await fetch(data)).blob());
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  }));
  if (now.width !== then.width || now.height !== then.height) return 1;
  let different = 0;
  for (let at = 0; at < now.data.length; at += 4) {
    different += [0, 1, 2].some((part) => Math.abs(now.data[at + part] - then.data[at + part]) > most);
  }
  return different / (now.width * now.height);
}"""


class Look(NamedTuple):
    """A theme on a screen."""

    name: str
    theme: Any
    size: Any


LOOKS = [Look("light", "light", WIDE), Look("dark", "dark", WIDE), Look("phone", "dark", PHONE)]


@asynccontextmanager
async def opened(browser: Any, running: ConsoleApi, look: Look, role: Role | None = Role.ADMIN) -> AsyncIterator[Any]:
    """A page of a browser at the instant of the data, signed in unless ``role`` is None."""
    context = await browser.new_context(
        viewport=look.size, color_scheme=look.theme, timezone_id="UTC", locale="en-GB", reduced_motion="reduce"
    )
    if role is not None:
        # one session for all pictures: each is a token that is listed
        if running.picture_cookie is None:
            running.picture_cookie = session_cookie(running, role, name="Ines Moreau")
        await context.add_cookies([running.picture_cookie])
    page = await context.new_page()
    await page.clock.set_fixed_time(START / 1_000)
    try:
        yield page
    finally:
        await context.close()


async def show(page: Any, running: ConsoleApi, name: str) -> None:
    """Open the page of this name and wait until it is whole."""
    if name in (STATUS, OPERATORS):
        key = running.ping_keys.status_key_of("saffron-spice") if name == STATUS else "checkouts"
        await page.goto(f"{running.url}/status/{key}")
        return
    path = f"incidents/{await incident_of(running)}" if name == "incident" else PAGES[name]
    await page.goto(f"{running.url}/console/{path}")
    await page.wait_for_selector("h1")
    await page.wait_for_load_state("load")
    await page.wait_for_selector(".skeleton", state="detached")
    if name == "monitor":
        await page.wait_for_selector(".chart canvas")
    if name == "import":
        await page.set_input_files("input[type=file]", {"name": "shops.csv", "mimeType": "text/csv", "buffer": ROWS})
        await page.get_by_role("button", name="Check 4 rows").click()
        await page.get_by_role("table", name="Refused rows").wait_for()
    if name == "live":
        await page.wait_for_selector(".link-state.live")
        running.tell_some()
        await page.wait_for_selector(".stream tbody tr")
    if name == "overview":
        await page.get_by_text("in the last day", exact=False).first.wait_for()
    # bars of days and badges come after what they stand beside
    await page.wait_for_function(_WHOLE)
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


async def incident_of(running: ConsoleApi) -> str:
    """The id of the incident of a shop's checkout."""
    answer = await running.call("GET", "/v1/users/saffron-spice/monitors/checkout/notifications")
    found: str = answer.json["incident"]["incident_id"]
    return found


async def smaller(blank: Any, png: bytes, width: int, quality: float) -> bytes:
    """Return a picture as WebP of this width; ``blank``: a page without a security policy."""
    data = await blank.evaluate(_SMALLER, [_address(png, "png"), width, quality])
    return base64.b64decode(data.partition(",")[2])


async def difference(blank: Any, one: bytes, other: bytes, most: int) -> float:
    """Return the share of pixels that differ by more than ``most`` of 255 between two pictures, WebP."""
    share: float = await blank.evaluate(_DIFFERENCE, [_address(one, "webp"), _address(other, "webp"), most])
    return share


def _address(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()
