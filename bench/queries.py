"""Latency (p50, p95) of each query of the lists and pages on a generated database, and the plan of each query.

The database is generated, and read by the product's own reader; stderr shows the progress and the time that is left.
With ``--folder`` it is kept there, and a later run reads it again, or fills it further if it was interrupted.
Memory: 512 MB for SQLite's cache while the database is filled, and 1.3 GB for PostgreSQL's server. The peers: 50 rows
by their keys, the least that a page can cost, and the plain statements that one writes first: OFFSET, LIKE with a
leading %, GROUP BY.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from bench.errors import Unmeasured
from bench.generated import generate
from bench.generated_rows import CROWDED, HOSTS, NOW_MS, TEAMS, Scale
from bench.plan import Plan
from bench.postgres import Missing, PostgresServer, running
from bench.query_plans import full_scans, listening
from bench.report import Figure, Outcome, Peer, say
from bench.storing import cpu_s
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.store import SqlReader, open_reader
from everwatch.store.audit_log import AuditSelection
from everwatch.store.letters import LetterSelection
from everwatch.store.paging import Sort
from everwatch.store.selections import ResultSelection, Selection, TransitionSelection, When

PAGE = 50
ROUNDS, FEWEST_ROUNDS = 40, 5
LONGEST_S = 20.0
"""Of the rounds of one question: one that is slow is asked less often."""
USERS, FEWER_USERS = 1_000_000, 40_000
"""Without and with ``--quick``; three monitors and five results each."""
SERVER = (
    "shared_buffers=1GB", "max_wal_size=4GB", "synchronous_commit=off", "fsync=off", "maintenance_work_mem=256MB",
    # indexes that are made of a filled table are not written to the log
    "wal_level=minimal", "max_wal_senders=0",
)  # fmt: skip
DATABASE = "generated"
HOUR_MS = 3_600_000
LIMIT_MS = 100
Ask = Callable[[SqlReader, Random], object]


class Pages(NamedTuple):
    """Number of pages that a question read one after the other; the time of each is that share of all."""

    number: int


def measure(plan: Plan) -> Outcome:
    """Measure both databases."""
    size = plan.users or (FEWER_USERS if plan.quick else USERS)
    scale = Scale(size, results=plan.results or 5 * size, transitions=size, tasks=size)
    figures = [Figure("users", scale.users, "users"), Figure("monitors", scale.monitors, "monitors")]
    figures += [Figure("results", scale.results, "results")]
    peers: list[Peer] = []
    with folder_of_databases(plan) as folder:
        if plan.takes("PostgreSQL"):
            try:
                with running(*SERVER, data=own_folder(folder / "postgresql")) as server:
                    _measure("PostgreSQL", Settings(database=database_of(server)), scale, plan, figures, peers, server)
            except Missing as error:
                raise Unmeasured(str(error)) from None
        if plan.takes("SQLite"):
            _measure("SQLite", Settings(data_dir=folder / "sqlite"), scale, plan, figures, peers)
    return Outcome(figures, peers)


@contextmanager
def folder_of_databases(plan: Plan) -> Iterator[Path]:
    """Give the plan's folder, or one for the time being; PostgreSQL's user may enter it."""
    with ExitStack() as stack:
        folder = plan.folder or Path(stack.enter_context(TemporaryDirectory(prefix="everwatch-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        yield folder


def own_folder(folder: Path) -> Path:
    """Return a folder in which PostgreSQL's user may make one."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder / "data"


def database_of(server: PostgresServer) -> str:
    """Return the URL of a server's generated database, which is made if it is missing."""
    if not server.run(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
        server.run(f"CREATE DATABASE {DATABASE}")
    return server.url(DATABASE)


def _measure(
    name: str,
    settings: Settings,
    scale: Scale,
    plan: Plan,
    figures: list[Figure],
    peers: list[Peer],
    server: PostgresServer | None = None,
) -> None:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    generate(settings, scale, lambda said: say(f"{name}: {said}"))
    took_s = clock.monotonic_s() - began_s
    figures.append(Figure(f"{name}, filling the database", took_s, "s"))
    say(f"{name}: filled in {took_s:,.0f} s; {len(list(questions(scale)))} questions follow")
    reader = open_reader(settings)
    try:
        figures += _asked(name, reader, scale, server)
        if plan.peers:
            peers.append(plain_statements(name, reader, scale))
    finally:
        reader.close()


def questions(scale: Scale) -> Iterator[tuple[str, Ask]]:
    """The queries of pages; each run has another cursor, filter or text."""

    def user(chance: Random) -> str:
        return f"user-{chance.randrange(scale.users):07}"

    def monitors(**given: Any) -> Ask:
        sort = given.pop("sort", Sort.ID)

        def ask(reader: SqlReader, chance: Random) -> object:
            which = Selection(**{k: v(chance) if callable(v) else v for k, v in given.items()})
            cursor, pages = "", 0
            for _ in range(chance.randrange(1, 4)):
                cursor = reader.list_monitors(which, cursor, sort=sort, limit=PAGE).next
                pages += 1
                if not cursor:
                    break
            return Pages(pages)

        return ask

    def users(**given: Any) -> Ask:
        sort = given.pop("sort", Sort.ID)

        def ask(reader: SqlReader, chance: Random) -> object:
            which = Selection(**{k: v(chance) if callable(v) else v for k, v in given.items()})
            return reader.list_users(which, sort=sort, limit=PAGE)

        return ask

    def team(chance: Random) -> tuple[tuple[str, str], ...]:
        return (("team", f"t{chance.randrange(TEAMS)}"),)

    yield "monitors by id", monitors()
    yield "monitors of a user", monitors(user_id=user)
    for state in ("up", "down", "late"):
        yield f"monitors by state {state}", monitors(state=state)
        yield f"monitors by state {state}, newest", monitors(state=state, sort=Sort.STATE_SINCE)
    yield "monitors by kind and plan", monitors(kind="dns", plan="gold")
    yield "monitors by plan", monitors(plan="pro")
    yield "monitors by kind and state, few", monitors(kind="heartbeat", state="down")
    yield "monitors by state since", monitors(sort=Sort.STATE_SINCE)
    yield "monitors by last change", monitors(sort=Sort.CHANGED)
    yield "monitors by last change, of a kind", monitors(kind="tcp", sort=Sort.CHANGED)
    yield "monitors by label, few", monitors(labels=team)
    yield "monitors by label, all, down", monitors(labels=(("env", "prod"),), state="down")
    yield "monitors by target", monitors(target=lambda chance: f"host-{chance.randrange(HOSTS)}.example")
    yield "monitors by part, few", monitors(contains=lambda chance: f"st-{chance.randrange(10_000, HOSTS)}.")
    yield "monitors by part, many", monitors(contains="host-1")
    yield "monitors by part, none", monitors(contains="no such text")
    yield "monitors by two characters", monitors(contains="b-")
    yield "monitors by part, by state since", monitors(contains="webs", state="down", sort=Sort.STATE_SINCE)
    yield "monitors by prefix, few", monitors(prefix=lambda chance: f"db-{chance.randrange(100, 1_000)}")
    yield "monitors by prefix, many", monitors(prefix="web")
    yield "users by id", users()
    yield "users by plan", users(plan="gold")
    yield "users by last change", users(sort=Sort.CHANGED)
    yield "users by part", users(contains=lambda chance: f"{chance.randrange(10_000):04}")
    yield "users by prefix", users(prefix="user-00")
    yield "users with a monitor that is late", users(state="late")
    yield "users with a monitor that is up", users(state="up", plan="pro")
    crowd = [f"user-{number:07}" for number in range(CROWDED)]
    yield "newest results of a monitor", lambda r, c: r.results(ResultSelection(c.choice(crowd), "website"), limit=PAGE)
    yield "newest results of all", lambda r, _: r.results(limit=PAGE)
    yield "failures in a window", lambda r, c: r.results(ResultSelection(status="failure"), when=_window(c), limit=PAGE)
    yield "failures of a user", lambda r, c: r.results(ResultSelection(c.choice(crowd), status="failure"), limit=PAGE)
    yield (
        "transitions in a window",
        lambda r, c: r.transitions(TransitionSelection(plan="pro"), when=_window(c), limit=PAGE),
    )
    yield (
        "transitions by target",
        lambda r, c: r.transitions(TransitionSelection(target=f"host-{c.randrange(HOSTS)}.example"), limit=PAGE),
    )
    yield "transitions of a user", lambda r, c: r.transitions(TransitionSelection(c.choice(crowd)), limit=PAGE)
    yield (
        "tasks pending",
        lambda r, c: r.tasks("", "pending", when=When(NOW_MS + c.randrange(10**6)), now=NOW_MS, limit=PAGE),
    )
    yield "tasks running", lambda r, _: r.tasks(status="running", now=NOW_MS, limit=PAGE)
    yield "tasks of a user", lambda r, c: r.tasks(user(c), now=NOW_MS, limit=PAGE)
    yield "counts by state, kind and plan", lambda r, _: r.catalogue_counts()
    yield from _letters(user)


def _letters(user: Callable[[Random], str]) -> Iterator[tuple[str, Ask]]:
    def letters(**given: Any) -> Ask:
        def ask(reader: SqlReader, _: Random) -> object:
            page = reader.dead_letters(LetterSelection(**given), limit=PAGE)
            return reader.dead_letters(LetterSelection(**given), after=page.next, limit=PAGE)

        return ask

    yield "dead letters", letters()
    yield "dead letters by source", letters(source_topic="signals")
    yield "dead letters by code, few", letters(code="quota")
    yield "dead letters by kind of reason", letters(alike="no Nnot_found")
    yield "dead letters by part of the reason", letters(text="1not")
    yield "dead letters of a user", lambda r, c: r.dead_letters(LetterSelection(user(c)), limit=PAGE)
    yield "one dead letter", lambda r, c: r.dead_letter(c.randrange(8), c.randrange(300))
    yield "dead letters in a window", lambda r, c: r.dead_letters(when=_window(c), limit=PAGE)
    yield "dead letters of a window, counted", lambda r, c: r.count_letters(when=_window(c))
    yield "dead letters of a user, counted", lambda r, c: r.count_letters(LetterSelection(user(c)))
    yield "audit log", lambda r, _: r.audit(after=r.audit(limit=PAGE).next, limit=PAGE)
    yield "audit log of a user", lambda r, c: r.audit(AuditSelection(user(c)), limit=PAGE)
    yield "audit log of a monitor", lambda r, c: r.audit(AuditSelection(user(c), "website"), limit=PAGE)
    yield (
        "audit log of a token in a window",
        lambda r, c: r.audit(AuditSelection(token_id="t"), when=_window(c), limit=PAGE),
    )
    yield "replies to a user", lambda r, c: r.replies(user(c), limit=PAGE)
    yield "replies to one command", lambda r, c: r.replies(user(c), f"command-{c.randrange(100)}", limit=PAGE)


def _window(chance: Random) -> When:
    begin = NOW_MS - chance.randrange(1, 48) * HOUR_MS
    return When(begin, begin + HOUR_MS)


def _asked(name: str, reader: SqlReader, scale: Scale, server: PostgresServer | None) -> Iterator[Figure]:
    slowest, scans, missed = 0.0, 0, []
    all_of_them: list[float] = []
    for question, ask in questions(scale):
        chance = Random(3)
        with listening(reader.engine) as statements:
            ask(reader, chance)
        found = full_scans(reader.engine, statements)
        scans += len(found)
        p50, p95, cpu = _timed(partial(ask, reader, chance), server)
        slowest = max(slowest, p95)
        all_of_them.append(p95)
        yield Figure(f"{name}, {question}", p50, "ms p50")
        yield Figure(f"{name}, {question}", p95, "ms p95", f"<= {LIMIT_MS}")
        # which other work on the machine does not change
        yield Figure(f"{name}, {question}", cpu, "ms CPU")
        if found:
            yield Figure(f"{name}, {question}: full scans ({found[0][:40]})", len(found), "plans", "<= 0")
        if p95 > LIMIT_MS or found:
            missed.append(question)
            say(f"{name}: {question}: p50 {p50:,.1f} ms, p95 {p95:,.1f} ms, CPU {cpu:,.1f} ms {' '.join(found)}")
    say(f"{name}: {len(missed)} questions miss {LIMIT_MS} ms or go through a table: {', '.join(missed) or 'none'}")
    for rank, p95 in enumerate(sorted(all_of_them), 1):
        yield Figure(f"{name}, question {rank} by its p95", p95, "ms")
    yield Figure(f"{name}, the slowest question", slowest, "ms p95", f"<= {LIMIT_MS}")
    yield Figure(f"{name}, questions that miss it", len(missed), "questions", "<= 0")
    yield Figure(f"{name}, tables that are gone through", scans, "plans", "<= 0")


def _timed(ask: Callable[[], object], server: PostgresServer | None) -> tuple[float, float, float]:
    """p50 and p95 of a page, and its CPU time with that of the server, ms; of a slow question from fewer rounds."""
    clock, pages = SystemClock(), 0
    took: list[float] = []
    until_s, cpu_before_s = clock.monotonic_s() + LONGEST_S, process_time() + cpu_s(server)
    while len(took) < ROUNDS and (len(took) < FEWEST_ROUNDS or clock.monotonic_s() < until_s):
        began = clock.monotonic_s()
        answer = ask()
        read = answer.number if isinstance(answer, Pages) else 1
        pages += read
        took.append(1000 * (clock.monotonic_s() - began) / read)
    cpu = process_time() + cpu_s(server) - cpu_before_s
    return median(took), quantiles(took, n=20, method="inclusive")[-1], 1000 * cpu / pages


def plain_statements(name: str, reader: SqlReader, scale: Scale) -> Peer:
    """Measure the statements that one writes first, without an index made for them."""
    engine: Engine = reader.engine
    plain = {
        "50 monitors by their keys (the bound)": (
            "SELECT * FROM monitors WHERE user_id IN (" + ", ".join(f"'user-{n:07}'" for n in range(17)) + ") LIMIT 50"
        ),
        "a page by OFFSET, half-way": f"SELECT * FROM monitors ORDER BY user_id, monitor_id LIMIT 50"
        f" OFFSET {scale.monitors // 2}",
        "a part of a target by LIKE": "SELECT * FROM monitors WHERE target LIKE '%no such%' LIMIT 50",
        "counts by GROUP BY": "SELECT state, kind, plan, count(*) FROM monitors GROUP BY state, kind, plan",
    }
    figures = []
    for what, statement in plain.items():

        def ask(statement: str = statement) -> None:
            with engine.connect() as connection:
                connection.execute(text(statement)).all()

        ask()
        began = SystemClock().monotonic_s()
        for _ in range(3):
            ask()
        figures.append(Figure(what, 1000 * (SystemClock().monotonic_s() - began) / 3, "ms"))
    return Peer(f"{name}, plain statements", figures)
