"""Databases for what lists show: many users of three monitors each, on PostgreSQL and on SQLite.

`bench api --only lists` and `bench console` read the same ones, so one folder serves both.
"""

from collections.abc import Callable

from bench.errors import Unmeasured
from bench.generated import generate
from bench.generated_rows import Scale
from bench.plan import Plan
from bench.postgres import Missing, running
from bench.queries import SERVER, database_of, folder_of_databases, own_folder
from bench.report import Figure, say
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings, load_settings

USERS, FEWER_USERS = 1_000_000, 20_000
"""Without and with ``--quick``; three monitors each."""


def scale_of(plan: Plan) -> Scale:
    """Return how much each database has."""
    users = plan.users or (FEWER_USERS if plan.quick else USERS)
    return Scale(users, results=users // 10, transitions=users // 10, tasks=users // 10)


def on_each(plan: Plan, figures: list[Figure], measure: Callable[[str, Settings], None]) -> None:
    """Fill one database after the other, or take those of the plan's folder, and measure each.

    Raises Unmeasured if PostgreSQL is asked for and not installed.
    """
    with folder_of_databases(plan) as folder:
        if plan.takes("PostgreSQL"):
            try:
                with running(*SERVER, data=own_folder(folder / "lists-postgresql")) as server:
                    settings = load_settings(data_dir=folder / "lists", database=database_of(server))
                    _fill("PostgreSQL", settings, plan, figures)
                    measure("PostgreSQL", settings)
            except Missing as error:
                raise Unmeasured(str(error)) from None
        if plan.takes("SQLite"):
            settings = load_settings(data_dir=folder / "lists", database=f"sqlite:///{folder / 'lists.db'}")
            _fill("SQLite", settings, plan, figures)
            measure("SQLite", settings)


def _fill(name: str, settings: Settings, plan: Plan, figures: list[Figure]) -> None:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    generate(settings, scale_of(plan), lambda said: say(f"{name}: {said}"))
    took_s = clock.monotonic_s() - began_s
    say(f"{name}: filled in {took_s:,.0f} s")
    figures.append(Figure(f"{name}, filling the database", took_s, "s"))
