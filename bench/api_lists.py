"""Pages of lists over HTTP on a generated database, on PostgreSQL and on SQLite."""

from collections.abc import Callable, Iterator
from random import Random

import uvloop

from bench.api_process import TOKEN, ApiProcess, start_api
from bench.errors import Unmeasured
from bench.generated_rows import HOSTS, TEAMS
from bench.http_load import load, request_of
from bench.list_databases import on_each, scale_of
from bench.plan import Plan
from bench.queries import plain_statements
from bench.report import Figure, Peer
from bench.rig import rig
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.store import open_reader

PAGES = 300
LONGEST_S = 20.0
"""Of one list: of a slow one fewer pages are asked for."""


def measure_lists(plan: Plan, figures: list[Figure], peers: list[Peer]) -> None:
    """Measure both databases, one after the other."""
    scale = scale_of(plan)
    figures.append(Figure("users in the database, of three monitors each", scale.users, "users"))

    def measure(name: str, settings: Settings) -> None:
        with rig() as bench:
            api = start_api(bench, "api", EVERWATCH_DATABASE=settings.database_url)
            for figure in _asked(name, api, scale.users):
                bench.say(figure.as_line())
                figures.append(figure)
            figures.append(Figure(f"{name}, resident", api.worker.resident_mib(), "MiB"))
        if plan.peers:
            reader = open_reader(settings)
            try:
                peers.append(plain_statements(name, reader, scale))
            finally:
                reader.close()

    on_each(plan, figures, measure)


def _lists(users: int) -> Iterator[tuple[str, Callable[[Random], str]]]:
    """The lists: each request has another cursor, filter or text where the list has one."""
    yield "monitors by id", lambda _: "monitors?limit=50"
    yield "monitors that are down, newest", lambda _: "monitors?state=down&sort=state-since&limit=50"
    yield "monitors by kind and plan", lambda _: "monitors?kind=dns&plan=gold&limit=50"
    yield "monitors by label", lambda chance: f"monitors?label=team%3Dt{chance.randrange(TEAMS)}&limit=50"
    yield "monitors at a target", lambda chance: f"monitors?target=host-{chance.randrange(HOSTS)}.example&limit=50"
    yield (
        "monitors by a part of a text",
        lambda chance: f"monitors?q=st-{chance.randrange(10_000, HOSTS)}.&limit=50",
    )
    yield "monitors of a user", lambda chance: f"users/user-{chance.randrange(users):07}/monitors?limit=50"
    yield "users by id", lambda _: "users?limit=50"
    yield "users by plan", lambda _: "users?plan=gold&limit=50"
    yield "users by a part of a text", lambda chance: f"users?q={chance.randrange(10_000):04}&limit=50"
    yield "facets of the monitors that are down", lambda _: "monitors/facets?state=down"
    yield "overview", lambda _: "overview"


def _asked(name: str, api: ApiProcess, users: int) -> Iterator[Figure]:
    for what, path in _lists(users):
        yield from _timed(f"{name}, {what}", api, path, "<= 100", "<= 60")
    # the largest page has no limit of bytes
    yield from _timed(f"{name}, monitors, 500 a page", api, lambda _: "monitors?limit=500", "<= 100", "")
    yield from _timed(f"{name}, counts", api, lambda _: "counts", "<= 20", "<= 60")


def _timed(what: str, api: ApiProcess, path: Callable[[Random], str], limit: str, bytes_limit: str) -> Iterator[Figure]:
    """Figures of one list, its pages asked for one after the other."""
    chance, left, clock = Random(3), iter(range(PAGES)), SystemClock()
    until_s = clock.monotonic_s() + LONGEST_S

    def next_one() -> bytes | None:
        if next(left, None) is None or clock.monotonic_s() > until_s:
            return None
        return request_of("GET", f"{api.url}/v1/{path(chance)}", TOKEN)

    before_s = api.worker.cpu_s()
    answers = uvloop.run(load(api.url, next_one, 1))
    if set(answers.statuses) != {200}:
        raise Unmeasured(f"{what} was answered with {dict(answers.statuses)}, not always with 200.")
    yield Figure(what, answers.took_ms(0.5), "ms p50")
    yield Figure(what, answers.took_ms(0.95), "ms p95", limit)
    # which other work on the machine does not change; without that of PostgreSQL's server
    yield Figure(what, 1000 * (api.worker.cpu_s() - before_s) / len(answers.took_s), "ms CPU of the process")
    yield Figure(f"{what}: largest page", answers.largest / 1024, "KiB", bytes_limit)
