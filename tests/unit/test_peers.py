"""The plain Faust peer's due index against the arithmetic of the schedule, and the peers' pinned jars."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from bench.peers.due import Due, DueIndex
from bench.peers.jars import COMPILER, LOCK_FILE
from everwatch.encoding import codec
from everwatch.kafka.embedded.jars import KAFKA_VERSION, read_lock
from everwatch.model import Every
from everwatch.schedule.every import due_between, phase_of

START_MS = 1_700_000_000_000


def entry(user_id: str, interval_ms: int) -> Due:
    return Due(codec.table_key(user_id, "tcp"), codec.user_key(user_id), 0, Every(interval_ms), b"{}")


@given(
    intervals=st.lists(st.sampled_from([100, 500, 2_550, 10_000]), min_size=1, max_size=20),
    steps=st.lists(st.integers(0, 15_000), min_size=1, max_size=10),
)
def test_the_index_hands_out_every_due_instant_once_however_late_it_is_asked(
    intervals: list[int], steps: list[int]
) -> None:
    index = DueIndex(START_MS)
    entries = [entry(f"user-{number}", interval_ms) for number, interval_ms in enumerate(intervals)]
    for due in entries:
        index.put(due.user_key, [due], START_MS)
    now_ms, found = START_MS, []
    for step in steps:
        now_ms += step
        found += index.due_upto(now_ms)
    expected = [
        (due, at)
        for due in entries
        for at in due_between(due.schedule, phase_of(due.key, due.schedule), START_MS, now_ms)
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_a_monitor_that_is_put_again_with_its_interval_misses_nothing_and_one_that_is_left_out_stops() -> None:
    index = DueIndex(START_MS)
    kept, dropped = entry("user", 100), Due(b"user\0dns", b"user", 0, Every(100), b"{}")
    index.put(b"user", [kept, dropped], START_MS)
    index.put(b"user", [kept], START_MS + 250)
    assert [due for due, _ in index.due_upto(START_MS + 400)] == [kept] * 4


def test_the_peer_has_the_streams_of_the_embedded_kafka_and_a_compiler() -> None:
    coordinates = [jar.coordinate for jar in read_lock(LOCK_FILE)]
    assert coordinates[0] == f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}"
    assert coordinates[-1].startswith(COMPILER)


def test_importing_the_peers_does_not_import_faust() -> None:
    import subprocess

    script = "import sys, bench.peers; sys.exit('faust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
