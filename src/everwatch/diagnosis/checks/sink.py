"""Check of the sink: gone, locked out of the database, or behind."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.diagnosis.waiting_partitions import numbers_of, stands_still, unowned, waiting

BEHIND_S = 15.0


def check_sink(system: System) -> Iterator[Finding]:
    """Compare the offsets of topics with those that the database holds."""
    lag = system.lag
    rows = lag.of("sink")
    if not lag.members["sink"]:
        yield fault(
            "sink",
            f"no sink is running: nothing is stored; {waiting(rows, 'record')}",
            "Start one: 'everwatch up' or 'everwatch sink'.",
        )
        return
    faults = 0
    if alone := unowned(system, "sink"):
        faults += 1
        topics = ", ".join(sorted({row.topic for row in alone}))
        yield fault(
            "sink", f"no sink reads partitions {numbers_of(alone)} of {topics}", "See the sinks' logs; restart them."
        )
    late = [row for row in rows if (row.lag_s or 0) > BEHIND_S and row.client_id]
    if late:
        faults += 1
        waits = waiting(late, "record")
        if system.is_locked(system.settings.database_url):
            yield fault(
                "sink",
                f"the sink is locked out: another process holds the database's write lock; {waits}",
                f"End that process ({_how_to_name(system.settings.database_url)} names it); the sink then goes on by"
                " itself.",
            )
        elif stands_still(system, late):
            owners = ", ".join(sorted({f"{row.client_id} ({row.host})" for row in late}))
            yield fault(
                "sink", f"{owners} stands still: {waits}", "See the sink's log and its process, then restart it."
            )
        else:
            yield fault(
                "sink",
                f"the sink is behind: {waits}",
                "It goes on; if that lasts, see the disk and the machine that the database is on.",
            )
    if not faults:
        names = ", ".join(member.client_id for member in lag.members["sink"])
        yield well("sink", f"{names}: {waiting(rows, 'record')}")


def _how_to_name(database_url: str) -> str:
    file = database_url.removeprefix("sqlite:///")
    return f"'fuser {file}'" if file != database_url else "pg_blocking_pids() on the server"
