"""The API's server with a store and a notifier that hold as much of each of two users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from everwatch.api.permissions import Role
from everwatch.core.config import Settings
from everwatch.model import Result, State, Status, Transition
from everwatch.notifier.delivery_rows import Channel
from everwatch.notifier.route_rows import listed_routes
from everwatch.store import Partition, Received, SinkBatch
from support.api import START, Api, api
from support.notifying import RULES, Notifying, transition

HERS, OTHERS = "ann", "bob"
MONITOR = {"kind": "noop", "schedule": {"every": "1m"}}


@asynccontextmanager
async def populated_api(tmp_path: Path) -> AsyncIterator[Api]:
    """The API with two monitors, results, transitions, tasks, incidents, messages, … of each of two users."""
    notifying = Notifying(Settings(data_dir=tmp_path), rules=RULES)
    async with api() as running:
        for user in (HERS, OTHERS):
            notifying.sign_up(user)
            notifying.tell(transition("new", "up", 1, user), transition("up", "down", 2, user))
            monitors = [{"monitor_id": name, **MONITOR} for name in ("m", "n")]
            await running.call("PUT", f"/v1/users/{user}", body={"monitors": monitors})
            for name in ("s", "t"):
                task = {"task_id": name, "kind": "noop", "in": "90m"}
                assert (await running.call("POST", f"/v1/users/{user}/tasks", body=task)).status == 201
            with notifying.storage.begin() as work:
                work.put_routes(listed_routes(notifying.rules))
                work.put_channels([Channel(f"c-{user}", "mail", user, f"{user}@example.com", 1, 1, 1, "gone")])
        await notifying.later(10_000)
        running.stand_beside(notifying)
        _fill(running)
        for user in (HERS, OTHERS):
            token = running.token(Role.OPERATOR, user)
            made = [
                ("POST", "/v1/silences", {"match": {"user": user}, "for": "1h"}),
                ("POST", "/v1/jobs", {"action": "pause", "expect_count": 4, "filter": {"user": user}}),
                ("PUT", "/v1/views", {"page": "monitors", "name": f"of {user}", "query": f"user={user}"}),
            ]
            for method, path, body in made:
                done = await running.call(method, path, body=body, token=token)
                assert done.status < 300, (path, done.data)
        yield running
    notifying.close()


def _fill(server: Api) -> None:
    results = [Result(u, m, START, "noop", 1, Status.SUCCESS, "", START, 1.0) for u in (HERS, OTHERS) for m in "mn"]
    changes = [
        Transition(u, m, START, State.UP, State.DOWN, "gone", 1, kind="noop") for u in (HERS, OTHERS) for m in "mn"
    ]
    some, others = Partition("results", 0), Partition("transitions", 0)
    server.store.apply(
        SinkBatch(
            START,
            {some: len(results), others: len(changes)},
            [Received(some, n, START, each) for n, each in enumerate(results)],
            [Received(others, n, START, each) for n, each in enumerate(changes)],
        )
    )
