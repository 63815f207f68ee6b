"""The periodic work of the notifier."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from support.notifying import HOUR, MINUTE, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.housekeeping import chores, run_chores
from everwatch.schedule.duration import DAY_MS


async def test_a_chore_that_fails_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path))
    notifying.sign_up()
    notifying.tell(transition("up", "down"))
    await notifying.work()
    with notifying.storage.begin() as work:
        [incident] = work.open_incidents()
        work.put_ack(Acknowledgement(incident.incident_id, "u-1", "shop", START + 9 * DAY_MS, "ada", START + MINUTE))
    with sqlite3.connect(tmp_path / "everwatch-notifier.db") as connection:
        connection.execute("UPDATE incidents SET document = '{'")
    complaints: list[str] = []

    async def at_once(chore: Callable[[], object]) -> object:
        return chore()

    todo = chores(notifying.storage, notifying.rules, START + 8 * DAY_MS + HOUR, keep_days=7)
    await run_chores(todo, at_once, lambda _, sentence: complaints.append(sentence))
    [complaint] = complaints
    assert complaint.startswith("ending snoozes failed and will be retried: ")
    # what comes after it is done: old messages are deleted
    assert notifying.deliveries() == []
    notifying.close()
