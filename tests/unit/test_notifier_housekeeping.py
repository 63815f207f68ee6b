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


async def test_old_events_go_however_many_there_are_in_transactions_of_some(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path))
    notifying.tell(*(transition("up", "down", n / 100, f"u-{n}") for n in range(4_100)))
    with notifying.storage.begin() as work:
        ids = [event.event_id for event in work.events_to_judge([0], START + HOUR, 5_000)]
        work.put_verdicts([(id_, None, "told") for id_ in ids])
    transactions: list[int] = []

    async def at_once(chore: Callable[[], object]) -> object:
        transactions.append(1)
        return chore()

    todo = list(chores(notifying.storage, notifying.rules, START + 8 * DAY_MS, keep_days=7))
    await run_chores(todo, at_once, lambda *_: None)
    assert len(transactions) == len(todo) + 2
    assert notifying.verdicts("u-0") == notifying.verdicts("u-4099") == []
    notifying.close()
