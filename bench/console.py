"""Times of the console in a browser, on a database of 1,000,000 users and 3,000,000 monitors.

Measured: rows at a cold start, interactions, 20 tabs, an API that is killed, and the memory of an hour of live tail.
The API is a process of its own on an embedded Kafka, the browser is Debian's chromium. An interaction is timed from the
key or the click until the browser has painted its answer; where text is typed, the pause of 180 ms in which the console
waits for the next key is part of it. The hour is 180,000 events (50 a second, as many as the API sends), which the page
gets as from the tab that leads, while its clock runs ahead. With ``--folder`` the databases are kept there and used
again. A part whose page does not show what it should within a minute is reported as not measured; the others go on.
"""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from statistics import median, quantiles
from typing import Any, NamedTuple

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright

from bench.console_api import ConsoleProcess
from bench.errors import Unmeasured
from bench.generated_rows import HOSTS
from bench.list_databases import on_each, scale_of
from bench.plan import Plan
from bench.producing import Records
from bench.report import Figure, Outcome, say
from bench.rig import Rig, rig
from everwatch.core.config import Settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.model import State, Transition

TABS = 20


class Rounds(NamedTuple):
    """Counts of what is done: cold starts, interactions; and seconds of the live tail."""

    cold: int
    each: int
    tail_s: int


WHOLE, QUICK = Rounds(5, 10, 3_600), Rounds(2, 3, 120)
PER_S = 50
AWAY_EVENTS = 20
PATIENCE_MS = 60_000
FIRST_ROW_MS, SEARCH_MS, BACK_MS, GROWTH = 1_000, 200, 2_000, 1.1
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
ROW, LIVE = "main table tbody tr", ".link-state.live"
_PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
_POST = """([first, many]) => {
  const channel = new BroadcastChannel("everwatch-live");
  for (let n = first; n < first + many; n += 1) {
    const at = Date.now();
    const failed = n % 9 === 0;
    const data = JSON.stringify({user_id: `user-${n % 5000}`, monitor_id: "website", kind: "http", scheduled_at: at,
      started_at: at, duration_ms: n % 400, status: failed ? "failure" : "success",
      reason: failed ? `status 50${n % 7}` : "", attempt: 1, timings: {}});
    channel.postMessage({type: "event", wish: "", kind: "result", id: `result/0/${n}`, data});
  }
  channel.close();
}"""


def measure(plan: Plan) -> Outcome:
    """Measure both databases, and once the hour of live tail."""
    rounds = QUICK if plan.quick else WHOLE
    scale = scale_of(plan)
    figures = [Figure("users", scale.users, "users"), Figure("monitors", scale.monitors, "monitors")]
    unmeasured: list[str] = []

    def part(name: str, of: Iterator[Figure]) -> None:
        say(name)
        try:
            figures.extend(of)
        except PlaywrightError as error:
            unmeasured.append(f"{name}: {str(error).partition(chr(10))[0].rstrip('.')}.")
            say(unmeasured[-1])

    with _browser() as browser, rig() as bench:

        def on(name: str, settings: Settings) -> None:
            with ConsoleProcess(bench, settings.database_url, _free_port()) as api:
                part(f"{name}, cold starts", _cold(name, bench, browser, api, rounds.cold))
                part(f"{name}, interactions", _interactions(name, bench, browser, api, rounds.each))
                part(f"{name}, {TABS} tabs", _tabs(name, bench, browser, api))
                part(f"{name}, the API is killed", _killed(name, bench, browser, api))
                if name == ("SQLite" if plan.takes("SQLite") else "PostgreSQL"):
                    part("live tail", _live_tail(bench, browser, api, rounds.tail_s))

        on_each(plan, figures, on)
    return Outcome(figures, unmeasured=unmeasured)


def _cold(name: str, bench: Rig, browser: Any, api: ConsoleProcess, rounds: int) -> Iterator[Figure]:
    for what, path, sign in (("monitors", "monitors", ROW), ("overview", "", ".counter .figure")):
        took = []
        for _ in range(rounds):
            with _context(browser, api) as context:
                page = context.new_page()
                began_s = bench.clock.monotonic_s()
                page.goto(f"{api.url}/console/{path}", wait_until="commit")
                page.wait_for_selector(sign)
                took.append(1_000 * (bench.clock.monotonic_s() - began_s))
        yield from _times(f"{name}, {what}, cold: first row", took, f"<= {FIRST_ROW_MS}")


def _interactions(name: str, bench: Rig, browser: Any, api: ConsoleProcess, rounds: int) -> Iterator[Figure]:
    with _context(browser, api) as context:
        yield from _answers(name, bench, context.new_page(), api, rounds)


def _answers(name: str, bench: Rig, page: Any, api: ConsoleProcess, rounds: int) -> Iterator[Figure]:
    chance = Random(5)
    page.goto(f"{api.url}/console/monitors")
    page.wait_for_selector(ROW)
    search = page.get_by_role("searchbox")

    def timed(answer: str, act: Callable[[], object]) -> float:
        began_s = bench.clock.monotonic_s()
        with page.expect_response(lambda response: answer in response.url):
            act()
        page.wait_for_selector("main .skeleton", state="detached")
        page.evaluate(_PAINTED)
        return 1_000 * (bench.clock.monotonic_s() - began_s)

    def typed(what: Callable[[], str]) -> list[float]:
        found = [timed("/v1/monitors?q=", lambda: search.fill(what())) for _ in range(rounds)]
        timed("/v1/monitors?", lambda: search.fill(""))
        return found

    def again(path: str, answer: str, act: Callable[[], object]) -> list[float]:
        found = []
        for _ in range(rounds):
            page.goto(f"{api.url}/console/{path}")
            page.wait_for_selector(ROW)
            found.append(timed(answer, act))
        return found

    few = typed(lambda: f"st-{chance.randrange(HOSTS // 5, HOSTS)}.")
    yield from _times(f"{name}, search of a part that few have", few)
    yield from _times(f"{name}, search of a part that many have", typed(lambda: f"host-{chance.randrange(1, 10)}"))
    yield from _times(f"{name}, search of a part that none has", typed(lambda: f"none-{chance.random()}"))
    asked = page.evaluate(
        "performance.getEntriesByType('resource').filter((each) => each.name.includes('/v1/monitors?q='))"
        ".map((each) => each.duration)"
    )
    yield from _times(f"{name}, the request of a search", asked, f"<= {SEARCH_MS}")
    down = page.get_by_role("group", name="State").get_by_role("button", name="Down")
    yield from _times(f"{name}, those that are down", again("monitors", "state=down", down.click))
    following = page.get_by_role("button", name="Next page")
    yield from _times(f"{name}, the next page", again("monitors", "cursor=", following.click))
    monitor = page.locator(f"{ROW} a.name").first
    yield from _times(f"{name}, one monitor", again("monitors", "/timeline", monitor.click))

    def by_keys() -> None:
        page.keyboard.press("g")
        page.keyboard.press("u")

    yield from _times(f"{name}, users by keys", again("monitors", "/v1/users?", by_keys))


def _tabs(name: str, bench: Rig, browser: Any, api: ConsoleProcess) -> Iterator[Figure]:
    """Open many tabs of one browser, the most that a person has, and count their streams."""
    streams: set[Any] = set()
    took = 0.0
    with _context(browser, api) as context:
        context.on("request", lambda each: streams.update([each] if "/v1/live" in each.url else []))
        for ended in ("requestfinished", "requestfailed"):
            context.on(ended, lambda each: streams.discard(each))
        for _ in range(TABS):
            page = context.new_page()
            began_s = bench.clock.monotonic_s()
            page.goto(f"{api.url}/console/monitors", wait_until="commit")
            page.wait_for_selector(ROW)
            took = 1_000 * (bench.clock.monotonic_s() - began_s)
            page.wait_for_selector(LIVE)
        yield Figure(f"{name}, streams of {TABS} tabs", len(streams), "streams", "<= 1")
    yield Figure(f"{name}, first row of tab {TABS}", took, "ms", f"<= {FIRST_ROW_MS}")


def _killed(name: str, bench: Rig, browser: Any, api: ConsoleProcess) -> Iterator[Figure]:
    """Kill the API, start it again, and count what the page of live events shows of the time between."""
    with _context(browser, api) as context:
        page, tail = context.new_page(), context.new_page()
        page.goto(f"{api.url}/console/monitors")
        tail.goto(f"{api.url}/console/live?only=transition")
        tail.wait_for_selector(LIVE)
        # an event that arrives says where the stream goes on
        _tell(bench, "before", 1)
        tail.get_by_text("before", exact=False).first.wait_for()
        page.wait_for_selector(ROW)
        api.kill()
        page.wait_for_selector(".link-state.lost")
        _tell(bench, "meanwhile", AWAY_EVENTS)
        api.start()
        began_s = bench.clock.monotonic_s()
        page.wait_for_selector(LIVE)
        page.wait_for_selector(ROW)
        took = 1_000 * (bench.clock.monotonic_s() - began_s)
        yield Figure(f"{name}, console back after the API", took, "ms", f"<= {BACK_MS}")
        tail.get_by_text("meanwhile").nth(AWAY_EVENTS - 1).wait_for()
        shown = tail.get_by_text("meanwhile").count()
        yield Figure(f"{name}, events shown that came while it was away", shown, "events", f">= {AWAY_EVENTS}")


@dataclass(frozen=True)
class ChangesOfState:
    """Source of changes of state with a reason of its own."""

    reason: str
    many: int
    at: int

    def records(self) -> Records:
        """Keys and values."""
        for number in range(self.many):
            change = Transition(
                f"user-{number:07}", "website", self.at, State.UP, State.DOWN, f"{self.reason} {number}", 1
            )
            yield codec.user_key(change.user_id), codec.encode_transition(change, OutputFormat.JSON)


def _tell(bench: Rig, reason: str, many: int) -> None:
    """Write changes of state to their topic."""
    bench.publish(bench.topics.transitions, ChangesOfState(reason, many, bench.clock.now_ms()))


def _live_tail(bench: Rig, browser: Any, api: ConsoleProcess, seconds: int) -> Iterator[Figure]:
    """Show ``seconds`` of events, and compare the page's memory with that after a sixth of them."""
    with _context(browser, api) as context:
        page = context.new_page()
        page.clock.install()
        page.goto(f"{api.url}/console/live")
        page.wait_for_selector(LIVE)
        tools = context.new_cdp_session(page)
        before: tuple[float, int] | None = None
        began_s = bench.clock.monotonic_s()
        for second in range(1, seconds + 1):
            page.evaluate(_POST, [second * PER_S, PER_S])
            page.clock.run_for(1_000)
            if before is None and second >= seconds // 6:
                before = _memory(tools)
            if second % 300 == 0:
                say(f"live tail: {second} of {seconds} s shown, {bench.clock.monotonic_s() - began_s:,.0f} s so far")
        assert before is not None
        heap, nodes = _memory(tools)
        yield Figure("live tail, events", seconds * PER_S, "events")
        yield Figure("live tail, rows shown", page.locator(ROW).count(), "rows")
        yield Figure(f"live tail, heap after {seconds // 6} s", before[0] / 2**20, "MiB")
        yield Figure(f"live tail, heap after {seconds} s", heap / 2**20, "MiB")
        yield Figure("live tail, heap at the end by that after a sixth", heap / before[0], "times", f"<= {GROWTH}")
        yield Figure("live tail, nodes at the end by those after a sixth", nodes / before[1], "times", f"<= {GROWTH}")


def _memory(tools: Any) -> tuple[float, int]:
    """Bytes of the page's heap and its nodes, once what is not needed has been collected."""
    tools.send("HeapProfiler.collectGarbage")
    return tools.send("Runtime.getHeapUsage")["usedSize"], tools.send("Memory.getDOMCounters")["nodes"]


def _times(name: str, took: list[float], target: str = "") -> Iterator[Figure]:
    say(f"{name}: {median(took):,.0f} ms")
    yield Figure(name, median(took), "ms p50")
    yield Figure(name, quantiles(took, n=20, method="inclusive")[-1], "ms p95", target)


@contextmanager
def _browser() -> Iterator[Any]:
    """Debian's chromium. Raises Unmeasured if it is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise Unmeasured("There is no chromium: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _context(browser: Any, api: ConsoleProcess) -> Iterator[Any]:
    """A browser without a cache, signed in."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    try:
        api.sign_in(context)
        yield context
    finally:
        context.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
