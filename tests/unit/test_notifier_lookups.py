"""No statement of the notifier reads a whole table that grows with users, incidents or messages."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Engine, event
from support.notifying import AT_ONCE, HOUR, MINUTE, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.incidents import Phase
from everwatch.notifier.storage import database_url_of
from everwatch.store.database import parse_url

GROWING = ("alert_events", "incidents", "alert_items", "alert_groups", "deliveries", "notifier_users", "alert_channels")
RULES = (
    AT_ONCE
    + """
[[users]]
name = "hook"
continue = true
webhook = { url = "https://hooks.example/{{user.id}}" }

[[users]]
name = "pager"
after = "1m"
pagerduty = { routing_key = "{{user.attributes.email}}" }

[[operators]]
name = "ops"
webhook = { url = "https://hooks.example/ops" }
"""
)


@contextmanager
def statements() -> Iterator[dict[str, object]]:
    """Every statement that is run meanwhile, with values of one run."""
    seen: dict[str, object] = {}

    def note(_c: object, _u: object, statement: str, values: object, _x: object, many: bool) -> None:
        seen[statement] = values[0] if many and isinstance(values, list) else values

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_what_the_notifier_asks_and_writes_goes_by_an_index(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    notifying = Notifying(settings, RULES)
    users = [f"u-{n}" for n in range(6)]
    with statements() as seen:
        for user in users:
            notifying.sign_up(user)
        notifying.tell(*(transition("up", "down", n, user, name) for n, user in enumerate(users) for name in "ab"))
        await notifying.work()
        with notifying.storage.begin() as work:
            [first, *_] = work.open_incidents()
            assert work.open_incidents(phase=Phase.FLAPPING) == []
            assert work.flapping([(first.user_id, first.monitor_id)]) is None
            work.put_ack(Acknowledgement(first.incident_id, first.user_id, first.monitor_id, START, "ada", START + 1))
        notifying.tell(*(transition("down", "up", 90, user, name) for user in users[:3] for name in "ab"))
        await notifying.later(2 * MINUTE)
        notifying.tell(*(transition("up", "down", 100 + n, user) for n, user in enumerate(users)))
        notifying.delete("u-4", "a")
        notifying.delete("u-4", "b")
        notifying.delete("u-5")
        await notifying.later(HOUR)
    notifying.close()
    plans = plans_of(seen, parse_url(database_url_of(settings)).database or "")
    assert len(plans) > 30
    assert not {statement: plan for statement, plan in plans.items() for table in GROWING if reads_all_of(table, plan)}


def plans_of(seen: dict[str, object], file: str) -> dict[str, str]:
    """How SQLite carries out each statement on rows."""
    found: dict[str, str] = {}
    with closing(sqlite3.connect(file)) as connection:
        for statement, values in seen.items():
            if statement.lstrip().split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT"):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()  # type: ignore[arg-type]
                found[statement] = "; ".join(detail for *_, detail in rows)
    return found


def reads_all_of(table: str, plan: str) -> bool:
    """Tell whether a plan goes through a table without an index. A partial index holds only what waits."""
    return re.search(rf"\bSCAN {table}\b(?! USING)", plan) is not None
