"""A flapping monitor is shown as such wherever monitors and incidents are: over HTTP, and by the commands."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from support.api import Api, api
from support.notifying import MINUTE, SECOND, Notifying, transition
from typer.testing import CliRunner

from everwatch.api.alerting import NotifierDatabase
from everwatch.api.flapping import FlappingMonitors
from everwatch.api.permissions import Role
from everwatch.api.views import MonitorView
from everwatch.cli.main import app
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.encoding.input_models import MonitorInput
from everwatch.model import Origin, State
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.wording import lines_of

SHOP, OTHER = "/v1/users/ann/monitors/shop", "/v1/users/ann/monitors/other"


@pytest.fixture
async def notifying(tmp_path: Path) -> AsyncIterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path))
    made.sign_up("ann")
    yield made
    made.close()


@pytest.fixture
async def server(notifying: Notifying) -> AsyncIterator[Api]:
    async with api() as running:
        running.clock.advance(notifying.clock.now_ms() - running.clock.now_ms())
        running.storage = notifying.storage
        for path in (SHOP, OTHER):
            await running.call("PUT", path, body={"kind": "noop", "schedule": {"every": "5m"}}, If_None_Match="*")
        yield running


async def flap(notifying: Notifying) -> None:
    changes = [("up", "down"), ("down", "up")] * 3
    notifying.tell(*(transition(*each, n, "ann") for n, each in enumerate(changes)))
    notifying.tell(transition("up", "down", 3, "ann", "other"))
    await notifying.later(MINUTE)


async def test_the_api_marks_a_monitor_while_it_is_flapping(server: Api, notifying: Notifying) -> None:
    before = await server.call("GET", SHOP)
    assert before.json["flapping"] is False
    await flap(notifying)
    server.clock.advance(2 * SECOND)
    listed = (await server.call("GET", "/v1/monitors")).json["items"]
    assert {each["monitor_id"]: each["flapping"] for each in listed} == {"shop": True, "other": False}
    shown = await server.call("GET", SHOP)
    assert (shown.json["flapping"], shown.json["state"]) == (True, "new"), "the state is that of the last result"
    assert shown.headers["ETag"] != before.headers["ETag"]
    for phase, monitors in (("flapping", ["shop"]), ("open", ["other"]), ("", ["other", "shop"])):
        found = await server.call("GET", f"/v1/incidents?phase={phase}" if phase else "/v1/incidents")
        assert [each["monitor_id"] for each in found.json["items"]] == monitors
    assert (await server.call("GET", "/v1/incidents?phase=closed")).status == 400
    await notifying.later(11 * MINUTE)
    assert (await server.call("GET", SHOP)).json["flapping"] is False, "it has settled"


async def test_monitors_are_shown_without_it_while_the_notifiers_database_does_not_answer(notifying: Notifying) -> None:
    await flap(notifying)
    free = threading.Event()

    class Slow:
        def look(self) -> AbstractContextManager[Work]:
            free.wait()
            return notifying.storage.look()

        def close(self) -> None:
            """Nothing."""

    database = NotifierDatabase(
        lambda: cast(Storage, Slow()), clock := SettableClock(notifying.clock.now_ms()), threads=1
    )
    marks = FlappingMonitors(database, clock)
    spec = MonitorInput(kind="noop")
    shop = MonitorView("ann", "shop", 1, Origin.COMMAND, 0, State.DOWN, 0, "", None, 0, spec)
    try:
        assert await marks.marked([shop]) == [shop]
        free.set()
        assert await marks.marked([shop]) == [shop], "it is not asked again at once"
        clock.advance(6 * SECOND)
        assert [each.flapping for each in await marks.marked([shop])] == [True]
    finally:
        free.set()
        database.close()


async def test_an_alert_says_what_flapping_is_and_when_the_next_one_comes(notifying: Notifying) -> None:
    await flap(notifying)
    lines = [line for _, message in notifying.receiver.got for line in lines_of(message, with_user=True)]
    [line, *_] = [each for each in lines if each.startswith("Flapping: shop")]
    assert "more than 5 times in 10 min, and the next alert comes when it has been up or down for 10 min" in line


@pytest.mark.parametrize("by_api", [True, False])
async def test_commands_say_that_a_monitor_is_flapping(
    server: Api, notifying: Notifying, tmp_path: Path, by_api: bool
) -> None:
    await flap(notifying)
    server.clock.advance(2 * SECOND)
    environment = {"EVERWATCH_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    if by_api:
        environment |= {"EVERWATCH_API_URL": server.url, "EVERWATCH_API_TOKEN": server.texts[Role.ADMIN]}

    async def said(*arguments: str) -> str:
        with commands_given(server.clock, open_reader=None if by_api else lambda _: server.store):
            found = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=environment)
        assert found.exit_code == 0, found.output
        return found.output

    def by_name(lines: list[str]) -> dict[str, Any]:
        return {each["monitor_id"]: each["flapping"] for each in map(orjson.loads, lines)}

    listed = (await said("monitor", "list", "ann")).splitlines()
    assert ["new, flapping" in line for line in listed] == [False, False, True], listed
    assert by_name((await said("monitor", "list", "--json")).splitlines()) == {"shop": True, "other": False}
    if by_api:
        explained = await said("explain", "ann", "shop")
        assert "flapping: it changed between up and down more than 5 times in 10 minutes" in explained
        assert "flapping" not in await said("explain", "ann", "other")
    incidents = await said("notify", "incidents", "--phase", "flapping")
    assert "ann/shop  up (flapping" in incidents
    assert "ann/other" not in incidents
