"""Due ticks of the bench follow from the schedules alone, and it notices every kind of wrong tick."""

from array import array
from collections import Counter
from typing import NamedTuple

import orjson
import pytest

from bench.expectation import Expectation, identify
from bench.population import EveryMinute, Once, Population, Recurring, murmur2, partition_of
from bench.reader import Reading
from bench.watching import compare
from everwatch.encoding import codec
from everwatch.model import Every
from everwatch.schedule.every import phase_of

PARTITIONS = 4
AFTER, UPTO = 1_000_000_000_000, 1_000_000_120_000
PEOPLE = Population((Recurring("fast", 2_000), EveryMinute("cron"), Once("once", AFTER + 1, 200_000)), 50, first=7)


class Record(NamedTuple):
    key: bytes
    value: bytes
    timestamp: int


def all_due() -> list[tuple[int, Record]]:
    """Every tick that is due, found the slow way: by trying each instant."""
    found = []
    for number in PEOPLE.numbers:
        user = PEOPLE.user_id(number)
        phase = phase_of(codec.table_key(user, "fast"), Every(2_000))
        instants = [(t, b"fast") for t in range(AFTER + 100, UPTO + 1, 100) if t % 2_000 == phase]
        instants += [(t, b"cron") for t in range(AFTER + 1, UPTO + 1) if t % 60_000 == 0]
        once = orjson.loads(dict(PEOPLE.signups())[user.encode()])["monitors"][2]["schedule"]["at"]
        instants += [(once, b"once")] if AFTER < once <= UPTO else []
        place = partition_of(user.encode(), PARTITIONS)
        found += [(place, Record(user.encode(), name, instant)) for instant, name in instants]
    return found


@pytest.mark.parametrize(
    ("data", "hashed"),
    [  # from the tests of Kafka's own Utils.murmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(data: bytes, hashed: int) -> None:
    assert murmur2(data) == hashed & 0xFFFFFFFF


def test_due_counts_are_those_of_the_schedules() -> None:
    expected = Expectation(PARTITIONS)
    expected.add(PEOPLE)
    assert expected.due(AFTER, UPTO) == Counter((place, record.timestamp) for place, record in all_due())
    assert expected.monitors == 150
    assert expected.rate == pytest.approx(50 * (0.5 + 1 / 60))


def test_signups_say_what_the_population_is() -> None:
    key, value = next(iter(PEOPLE.signups(port=11)))
    event = orjson.loads(value)
    assert (key, event["user_id"]) == (b"user-00000007", "user-00000007")
    assert [m["schedule"] for m in event["monitors"][:2]] == [
        {"every": "2s"},
        {"cron": "* * * * *", "timezone": "UTC"},
    ]
    assert all(m["config"] == {"host": "127.0.0.1", "port": 11} for m in event["monitors"])


def test_all_ticks_there_once_is_a_clean_bill() -> None:
    found = identify(PEOPLE, all_due(), bytes.decode, AFTER, UPTO)
    assert found == (len(all_due()), 0, 0, 0)


def test_missing_doubled_and_undue_ticks_are_told_apart() -> None:
    ticks = all_due()
    place, first = ticks[0]
    told = [
        *ticks[2:],  # two missing
        ticks[5],  # one twice
        (place, first._replace(timestamp=first.timestamp + 100)),  # not due then
        (place, first._replace(value=b"unknown")),
        (place, first._replace(key=b"user-99999999")),  # nobody's of this population
        (place, first._replace(timestamp=AFTER)),  # outside the window
    ]
    assert identify(PEOPLE, told, bytes.decode, AFTER, UPTO) == (len(ticks) + 1, 2, 1, 2)


def reading_of(rows: list[tuple[int, int, int, int]]) -> Reading:
    read = Reading(["ticks"], array("q"))
    for arrival, partition, instant, count in rows:
        read.add(arrival, "ticks", partition, instant, count)
    return read


def test_verdict_counts_by_partition_and_instant() -> None:
    due = {(0, 1_100): 10, (1, 1_100): 5, (0, 1_500): 4}
    rows = [(1_110, 0, 1_100, 8), (1_130, 0, 1_100, 4), (1_112, 1, 1_100, 5), (1_490, 0, 1_500, 3), (9_000, 0, 900, 1)]
    verdict = compare(reading_of(rows), "ticks", 1_000, 1_500, due)
    assert (verdict.ticks, verdict.due, verdict.missed, verdict.duplicates, verdict.early) == (20, 19, 1, 2, 3)
    assert verdict.lateness == {10: 8, 30: 4, 12: 5, 0: 3}
    assert (verdict.late(0.5), verdict.late(0.99), verdict.worst) == (10, 30, 30)


def test_growth_compares_the_last_fifth_with_the_first() -> None:
    rows = [(instant + late, 0, instant, 100) for instant, late in ((100, 5), (300, 90), (500, 25))]
    assert compare(reading_of(rows), "ticks", 0, 500, {}).growth_ms == 20
