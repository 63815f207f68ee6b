"""Executors that check targets over a network and lose their uplink: what users and operators are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from support.executing import Executor
from support.network import without_uplink
from support.notifying import MINUTE, RULES, SECOND, START, Notifying

from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Every, Monitor, MonitorSpec, Origin, Policy, Result, Transition
from everwatch.network.guard import Guard
from everwatch.notifier.addresses import EmailAddress, WebhookAddress
from everwatch.notifier.wording import subject_of
from everwatch.rules import lifecycle

pytestmark = pytest.mark.usefixtures("own_network")
TARGETS = 60
ANYWHERE = Guard((ip_network("0.0.0.0/0"),))


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """The port of a web server that has every address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", 0) as serving:
        yield serving.sockets[0].getsockname()[1]


class World:
    """A user each for so many targets, and what workers make of the results of their monitors."""

    def __init__(self, port: int, notifying: Notifying) -> None:
        self.notifying = notifying
        self.monitors: list[Monitor] = []
        for n in range(TARGETS):
            config = f'{{"url":"http://198.18.0.{n + 1}:{port}/"}}'
            spec = MonitorSpec("site", "http", config, Every(60_000), Policy(5_000))
            self.monitors.append(lifecycle.first_put(f"u-{n}", spec, Origin.SIGNUP, START - MINUTE, START - MINUTE))
            notifying.sign_up(f"u-{n}")

    async def check(self, executor: Executor, numbers: range, at: int) -> None:
        """Check these users' targets once, and tell the notifier of what has changed."""
        before = len(executor.outbox.results)
        for n in numbers:
            config = self.monitors[n].spec.config
            executor.take(config, at=at, kind="http", user_id=f"u-{n}", monitor_id="site", version=1)
        results = await executor.sent(before + len(numbers))
        # the last of them are over for the executor, too
        for _ in range(10):
            await asyncio.sleep(0)
        self.notifying.tell(*(each for result in results[before:] if (each := self._changed_by(result)) is not None))

    def _changed_by(self, result: Result) -> Transition | None:
        number = int(result.user_id.removeprefix("u-"))
        monitor = self.monitors[number]
        self.monitors[number] = after = lifecycle.after_result(monitor, result)
        transition = lifecycle.transition_between(monitor, after)
        if transition is None:
            return None
        target = target_of_config("http", monitor.spec.config)
        return msgspec.structs.replace(transition, target=target, executor=result.executor, unreached=result.unreached)


@pytest.mark.parametrize("executors", [["north", "south"], ["last"]], ids=["one of two", "the last one"])
async def test_an_executor_without_uplink_tells_no_user_and_one_message_says_which_it_is(
    tmp_path: Path, executors: list[str]
) -> None:
    rules = RULES.replace('group_wait = "0s"', 'group_wait = "30s"')
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(server())
        context = await stack.enter_async_context(open_run_context(SystemClock(), ANYWHERE))
        opened = [Executor(context, 20, name) for name in executors]
        for each in opened:
            stack.push_async_callback(each.checks.drain, 0)
        world = World(port, notifying)
        lost, *others = opened
        # the second one checks a few of the targets; of fewer than 50 nothing would be said of the first
        its = range(TARGETS - 5 * len(others))
        theirs = range(its.stop, TARGETS)
        await world.check(lost, its, START)
        for other in others:
            await world.check(other, theirs, START)
        with without_uplink():
            await world.check(lost, its, START + MINUTE)
        for other in others:
            await world.check(other, theirs, START + MINUTE)
        notifying.clock.advance(MINUTE)
        notifying.plan()
        await notifying.later(30 * SECOND)
        await world.check(lost, its, START + 2 * MINUTE)
        await notifying.later(30 * SECOND)
        await notifying.later(10 * MINUTE)
    told = {
        kind: [m for a, m in notifying.receiver.got if isinstance(a, kind)] for kind in (EmailAddress, WebhookAddress)
    }
    assert told[EmailAddress] == []
    assert [subject_of(message).partition(" (")[0] for message in told[WebhookAddress]] == [
        f"DOWN: executor {executors[0]}",
        f"Recovered: executor {executors[0]}",
    ]
    # all had failed, and all have recovered
    assert [monitor.state for monitor in world.monitors] == ["up"] * TARGETS
    assert sum("was doubted" in verdict for n in its for verdict in notifying.verdicts(f"u-{n}", "site")) == 2 * len(
        its
    )
    notifying.close()
