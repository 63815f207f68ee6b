"""A worker that is started again catches up with its table's changelog in bulk, and its ticks go on."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from conftest import NewPipeline
from support.account import settle_ticks
from support.pipeline import PARTITIONS, WATCHING, Pipeline, every
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SystemClock
from everwatch.encoding.codec import split_key
from streams.app import create_app

pytestmark = pytest.mark.integration
USERS = 2_000
LEAVERS = 100
SITES = [f"site-{number}" for number in range(10)]
INTERVAL_MS = 20_000
READ = re.compile(r"read (\d+) records of the table's changelog")
WRITTEN = USERS * (1 + len(SITES)) + LEAVERS * (1 + len(SITES))
MONITORS = (USERS - LEAVERS) * len(SITES)

# what a process with this on its path does: reading in bulk fails in the middle, twice
SABOTAGE = """
import everwatch.kafka.to_end as to_end
import streams.state.catch_up as catch_up
from everwatch.core.errors import BrokerUnavailable

to_end.AT_ONCE = 500
read, calls = catch_up.read_to_end, iter(range(1_000_000))

def give_up(*arguments):
    for messages in read(*arguments):
        if next(calls) in (10, 20):
            raise BrokerUnavailable("sabotage")
        yield messages

catch_up.read_to_end = give_up
"""


@pytest.fixture(scope="module")
def began() -> list[int]:
    """Since when everybody is known."""
    return []


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline, began: list[int]) -> Pipeline:
    """A worker with 19,000 monitors, who are left of 20,000."""
    pipeline = new_pipeline()
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    sites = [every(site, "http", "20s", url="http://127.0.0.1:1/") for site in SITES]
    signups = [{"user_id": user, "monitors": sites} for user in users()]
    send_all(pipeline, pipeline.topics.signups, signups)
    wait_until("everybody is known", lambda: written(pipeline) >= USERS * (1 + len(SITES)), 60)
    send_all(pipeline, pipeline.topics.commands, [{"command": "deregister", "user_id": user} for user in leavers()])
    wait_until("the leavers are gone", lambda: written(pipeline) >= WRITTEN, 60)
    assert written(pipeline) == WRITTEN
    began.append(now_ms())
    return pipeline


def users() -> Iterator[str]:
    return (f"user-{number}" for number in range(USERS))


def leavers() -> Iterator[str]:
    return (f"user-{number}" for number in range(0, USERS, USERS // LEAVERS))


def send_all(pipeline: Pipeline, topic: str, records: list[dict[str, object]]) -> None:
    """Produce records, each on the partition of its user."""
    producer = Producer({"bootstrap.servers": pipeline.settings.bootstrap_servers})
    for record in records:
        user = str(record["user_id"])
        number = int(user.partition("-")[2]) // 7 % PARTITIONS
        producer.produce(topic, key=user, value=orjson.dumps(record), partition=number)
    assert producer.flush(120) == 0


def written(pipeline: Pipeline) -> int:
    """Return how many records the changelog has got."""
    return len(pipeline.read(pipeline.topics.monitors_changelog))


def start_again(pipeline: Pipeline, *, wipe: bool) -> str:
    """Stop the worker and start another one; gives what it logged until it watches everything."""
    assert pipeline.processes["worker"].stop() == 0
    if wipe:
        shutil.rmtree(pipeline.settings.data_dir / "workers")
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    log = pipeline.processes["worker"].logged()
    assert WATCHING.findall(log)[-1][0] == str(MONITORS)
    return log


def records_read(log: str) -> int:
    return sum(map(int, READ.findall(log)))


def assert_nothing_missed_since(pipeline: Pipeline, began: int) -> None:
    """Every monitor's ticks are there, once: those of the time without a worker too, and none of the leavers'."""
    gone = set(leavers())
    intervals = {(user, site): INTERVAL_MS for user in users() if user not in gone for site in SITES}
    upto = now_ms() + 1_000
    pipeline.wait_for_time(upto)
    wait_until(
        "nothing is missed", lambda: not settle_ticks(pipeline.emitted(began), intervals, began, upto).missed, 30, 1.0
    )
    found = settle_ticks(pipeline.emitted(began), intervals, began, upto)
    assert found.complete, found
    assert found.due >= MONITORS * (upto - began) // INTERVAL_MS * 0.9
    assert found.copies <= found.due // 100


async def stored(pipeline: Pipeline) -> dict[bytes, bytes]:
    """The entries in the stopped worker's local tables."""
    settings = pipeline.settings
    app, engine = create_app(settings, settings.bootstrap_servers, SystemClock(), settings.data_dir / "workers" / "1")
    app.finalize()
    store = engine.table.store
    entries = {key: value for number in range(PARTITIONS) for key, value in store.scan(number)}
    await store.stop()
    return entries


def on_changelog(pipeline: Pipeline) -> dict[bytes, bytes]:
    """The entries that the changelog leads to."""
    entries: dict[bytes, bytes | None] = {}
    for message in pipeline.read(pipeline.topics.monitors_changelog):
        entries[message.key()] = message.value()
    return {key: value for key, value in entries.items() if value is not None}


def test_a_worker_without_its_local_state_reads_the_whole_changelog_and_misses_nothing(
    pipeline: Pipeline, began: list[int]
) -> None:
    log = start_again(pipeline, wipe=True)
    assert records_read(log) == WRITTEN
    assert_nothing_missed_since(pipeline, began[0])


def test_a_worker_with_its_local_state_reads_next_to_nothing(pipeline: Pipeline, began: list[int]) -> None:
    log = start_again(pipeline, wipe=False)
    assert records_read(log) <= PARTITIONS
    assert_nothing_missed_since(pipeline, began[0])


def test_where_bulk_reading_fails_half_way_the_rest_is_recovered_all_the_same(
    pipeline: Pipeline, began: list[int], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE)
    pipeline.environment["PYTHONPATH"] = str(tmp_path)
    log = start_again(pipeline, wipe=True)
    del pipeline.environment["PYTHONPATH"]
    assert log.count("partitions cannot be opened yet: sabotage") == 2
    assert 0 < records_read(log) < WRITTEN, "what was read before is not read again"
    assert_nothing_missed_since(pipeline, began[0])


@pytest.mark.parametrize("wipe", [False, True], ids=["as the last worker left it", "read in bulk"])
async def test_what_was_deleted_leaves_nothing_behind(pipeline: Pipeline, wipe: bool) -> None:
    if wipe:
        shutil.rmtree(pipeline.settings.data_dir / "workers")
        pipeline.ensure("worker")
        pipeline.wait_until_watched()
    assert pipeline.processes["worker"].stop() == 0
    entries = await stored(pipeline)
    assert entries == on_changelog(pipeline)
    assert len(entries) == MONITORS + USERS - LEAVERS
    assert not {split_key(key)[0] for key in entries} & set(leavers())
