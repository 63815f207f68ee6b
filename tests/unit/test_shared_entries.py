"""Users whose signups have the very same monitors are registered byte for byte as each of them alone."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from everwatch.core.clock import SettableClock
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.compression import codec_named
from everwatch.model import Monitor, Signup, User
from everwatch.rules.admission import admit_signup
from everwatch.rules.registration_rules import newcomer
from everwatch.timetable import Timetable, TimetableEntry
from streams.agents.input_admission import keys_of
from streams.agents.shared_entries import SharedEntriesOfBatch
from streams.state.timetable_planner import TimetablePlanner

NOW = 1_800_000_000_050
BEGIN = NOW + 500
HTTP = {"monitor_id": "site", "config": {"url": "https://shop.example/"}, "schedule": {"every": "30s"}}
CRON = {"monitor_id": "nine", "kind": "noop", "schedule": {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}}
SPREAD = {"monitor_id": "spread", "kind": "noop", "schedule": {"cron": "0 9 * * *", "spread": "10m"}}
BEAT = {"monitor_id": "beat", "kind": "heartbeat", "config": {"period": "5m"}, "policy": {"priority": "high"}}
RICH = HTTP | {
    "monitor_id": "ri\u00f6h",
    "payload": {"a": 1},
    "labels": {"env": "prod"},
    "policy": {"overlap": "allow"},
}
SHARED = [
    [HTTP],
    [HTTP, CRON],
    [SPREAD],
    [BEAT],
    [RICH, HTTP, BEAT],
    [HTTP | {"monitor_id": f"s{i}"} for i in range(40)],
]
OWN = [
    [HTTP | {"schedule": {"every": "30s", "max_runs": 3}}],
    [HTTP | {"schedule": {"every": "30s", "end_at": "2031-01-01T00:00:00Z"}}],
    [HTTP | {"schedule": {"every": "30s", "start_at": "2031-01-01T00:00:00Z"}}],
    [HTTP, {"monitor_id": "task", "kind": "noop", "schedule": {"at": "2031-01-01T00:00:00Z"}}],
    [],
]
Written = dict[bytes, bytes]


class Table:
    """Entries that were written."""

    def __init__(self) -> None:
        self.entries: Written = {}

    def add(self, partition: int, key: bytes, entry: User | Monitor) -> None:
        assert partition == 3
        self.entries[key] = codec.encode_entry(entry)

    def add_values(self, partition: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        assert partition == 3
        self.entries.update(entries)


def signups(monitors: list[dict[str, Any]], **more: Any) -> list[Signup]:
    users = ("u-1", "u-2", "\u00e4-" + "x" * 150, "u-4")
    return [admit_signup(orjson.dumps({"user_id": user, "monitors": monitors} | more)) for user in users]


def keys(signup: Signup) -> list[bytes]:
    return keys_of(signup, codec.table_key(signup.user_id))


def alone(planner: TimetablePlanner, signup: Signup) -> tuple[Written, list[TimetableEntry | None]]:
    table = Table()
    user, monitors = newcomer(signup, NOW, BEGIN)
    mine: list[User | Monitor] = [user, *monitors]
    for key, entry in zip(keys(signup), mine, strict=True):
        table.add(3, key, entry)
    return table.entries, [planner.entry_of(each, key) for each, key in zip(monitors, keys(signup)[1:], strict=True)]


def fired(timetable: Timetable, upto: int) -> Counter[tuple[int, object, bytes]]:
    """Return what goes out when, the first checks too."""
    return Counter(
        (instant + entry.delta, firing.batch_key, entry.framed)
        for firing in timetable.backlog(upto, upto)
        for entry in firing.chunk.entries(codec_named("lz4"))
        for instant in (*firing.fire, *firing.skipped)
    )


def planner(first_check_within_ms: int | None = None) -> TimetablePlanner:
    clock = SettableClock(NOW)
    return TimetablePlanner(codec_named("lz4"), clock, first_check_within_ms=first_check_within_ms)


@pytest.mark.parametrize("monitors", SHARED, ids=lambda each: ",".join(m["monitor_id"] for m in each)[:30])
@pytest.mark.parametrize("first_check", [None, 5_000])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"plan": "pro"},
        {"attributes": {"site": "a.example", "n": 2}},
        {"maintenance": [{"cron": "0 3 * * *", "duration": "1h"}]},
    ],
    ids=["plain", "plan", "attributes", "maintenance"],
)
def test_entries_and_plans_are_those_of_each_user_alone(
    monitors: list[dict[str, Any]], first_check: int | None, more: dict[str, Any]
) -> None:
    made = planner(first_check)
    alike = SharedEntriesOfBatch(made, NOW, BEGIN)
    first, *others = signups(monitors, **more)
    assert alike.of(first) is None
    table, expected = Table(), Table()
    timetable, one_by_one = made.new_timetable(NOW), made.new_timetable(NOW)
    for signup in others:
        shared = alike.of(signup)
        assert shared is not None
        shared.take(table, 3, signup, keys(signup))
        entries, planned = alone(made, signup)
        expected.entries |= entries
        for each in planned:
            assert each is not None
            one_by_one.put(each)
    assert alike.shared == [shared]
    shared.write(table, 3)
    assert table.entries == expected.entries
    for _ in shared.put(timetable):
        pass
    assert len(timetable) == len(one_by_one) == 3 * len(monitors)
    for upto in (BEGIN + 10_000, BEGIN + 86_400_000):
        assert fired(timetable, upto) == fired(one_by_one, upto)


def test_users_of_several_plans_get_their_own_plan() -> None:
    made = planner()
    alike = SharedEntriesOfBatch(made, NOW, BEGIN)
    plans = ["pro", "free", "pro", "free", "pro"]
    table, expected = Table(), Table()
    for number, plan in enumerate(plans):
        signup = admit_signup(orjson.dumps({"user_id": f"u-{number}", "plan": plan, "monitors": [HTTP]}))
        shared = alike.of(signup)
        if number:
            assert shared is not None
            shared.take(table, 3, signup, keys(signup))
            expected.entries |= alone(made, signup)[0]
    assert shared is not None
    shared.write(table, 3)
    assert table.entries == expected.entries


@pytest.mark.parametrize("monitors", OWN, ids=["max_runs", "end_at", "start_at", "task", "none"])
def test_what_depends_on_the_key_otherwise_is_not_shared(monitors: list[dict[str, Any]]) -> None:
    alike = SharedEntriesOfBatch(planner(), NOW, BEGIN)
    assert [alike.of(signup) for signup in signups(monitors)] == [None] * 4


def test_a_user_that_no_record_can_hold_is_refused_as_alone() -> None:
    class Full(Table):
        def add(self, partition: int, key: bytes, entry: User | Monitor) -> None:
            raise InvalidInput(f"what is kept of {key!r} is too large")

    alike = SharedEntriesOfBatch(planner(), NOW, BEGIN)
    _, second, *_ = signups([HTTP], attributes={"text": "x"})
    assert alike.of(second) is None
    shared = alike.of(second)
    assert shared is not None
    with pytest.raises(InvalidInput):
        shared.take(Full(), 3, second, keys(second))
