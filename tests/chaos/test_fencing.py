"""A worker that lost its partitions does not write over its successor, and one that dies half way leaves no half."""

import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from conftest import NewPipeline
from support.account import settle_ticks
from support.pipeline import PARTITIONS, Pipeline, every
from support.waiting import now_ms, wait_until

from everwatch.encoding import codec
from everwatch.kafka.clients import new_admin, new_transactional_producer
from everwatch.kafka.transactional_producer import RecordRun, TransactionalProducer
from everwatch.model import Monitor

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.chaos
USERS = 4_000
WORKERS = ("worker", "worker-2")
LOST = "has another owner; this worker gives up its partitions"
# so many changes of everybody wait when a worker is stopped, so that it is at one of them
CHANGES = 3
# closed segments are compacted as soon as the cleaner comes, and a segment is closed by the next record
COMPACTED_SOON = {"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "1"}


def users() -> Iterator[tuple[int, str]]:
    """Partitions and users."""
    return ((number % PARTITIONS, f"user-{number}") for number in range(USERS))


def change_all(pipeline: Pipeline, mark: str) -> None:
    """Sign everybody up with a monitor that bears a mark."""
    producer = Producer({"bootstrap.servers": pipeline.settings.bootstrap_servers, "linger.ms": 50})
    monitor = every("m", "http", "1h", url=f"http://127.0.0.1:1/{mark}")
    for partition, user in users():
        value = orjson.dumps({"user_id": user, "monitors": [monitor]})
        producer.produce(pipeline.topics.signups, key=user, value=value, partition=partition)
    assert producer.flush(120) == 0


def marks(pipeline: Pipeline) -> dict[bytes, str]:
    """The mark of each of the users' monitors, as compaction would leave it."""
    found: dict[bytes, str] = {}
    known = {user for _, user in users()}
    for message in pipeline.read(pipeline.topics.monitors_changelog):
        key, value = message.key(), message.value()
        user, monitor = codec.split_key(key)
        entry = codec.decode_entry(key, value) if value is not None and monitor and user in known else None
        if isinstance(entry, Monitor):
            found[key] = str(orjson.loads(entry.spec.config)["url"]).rpartition("/")[2]
    return found


def bear(pipeline: Pipeline, mark: str) -> bool:
    """Tell whether every monitor bears the mark."""
    return list(marks(pipeline).values()) == [mark] * USERS


def written(pipeline: Pipeline, numbers: set[int]) -> int:
    """How far the changelog of some partitions has come."""
    topic = pipeline.topics.monitors_changelog
    settings = {"bootstrap.servers": pipeline.settings.bootstrap_servers, "group.id": "fencing"}
    with closing(Consumer(settings)) as consumer:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=60)[1] for number in numbers)


def owners(pipeline: Pipeline) -> dict[str, set[int]]:
    return {name: pipeline.processes[name].partitions() for name in WORKERS}


def stop_and_continue(pipeline: Pipeline, stopped: str, other: str, name: str) -> tuple[int, int]:
    """One round: gives the number of values that are not the successor's, and how often a fence was run into."""
    process = pipeline.processes[stopped]
    said, numbers = process.logged().count(LOST), process.partitions()
    before = written(pipeline, numbers)
    for change in range(CHANGES):
        change_all(pipeline, f"{name}-stopped-{change}")
    wait_until("it is in the middle of it", lambda: written(pipeline, numbers) > before, 60, 0.01)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        wait_until("the other has all", lambda: owners(pipeline)[other] == set(range(PARTITIONS)), 60)
        change_all(pipeline, f"{name}-successor")
        wait_until("the other has changed all", lambda: bear(pipeline, f"{name}-successor"), 120, 0.5)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    pipeline.wait_until_watched()
    assert all(each.runs for each in pipeline.processes.values())
    # signups that were not acknowledged before partitions moved are carried out once more, in their order
    sign_up_late(pipeline, f"round-{name}")
    zombies = sum(mark != f"{name}-successor" for mark in marks(pipeline).values())
    return zombies, process.logged().count(LOST) - said


def test_a_worker_that_is_stopped_and_continued_writes_nothing_over_its_successors_values(
    new_pipeline: NewPipeline, request: pytest.FixtureRequest
) -> None:
    rounds = request.config.getoption("--fencing-rounds")
    pipeline = new_pipeline()
    pipeline.ensure(*WORKERS)
    pipeline.wait_until_watched()
    change_all(pipeline, "begin")
    wait_until("everybody is known", lambda: bear(pipeline, "begin"), 120, 0.5)
    zombies = fenced = 0
    for number in range(rounds):
        stopped, other = WORKERS if number % 2 else WORKERS[::-1]
        found, ran = stop_and_continue(pipeline, stopped, other, str(number))
        zombies, fenced = zombies + found, fenced + ran
        logger.info("round %d: %d zombie values of %d; fenced %d times so far", number + 1, found, USERS, fenced)
    assert zombies == 0
    # a stopped worker that had nothing under way would prove nothing
    assert fenced
    mark = f"{rounds - 1}-successor"
    compact(pipeline)
    assert bear(pipeline, mark)
    restore(pipeline)
    # what it has restored is what the last successor wrote: the same signups say nothing new to it
    already = values_of(pipeline)
    change_all(pipeline, mark)
    sign_up_late(pipeline, "restored")
    assert values_of(pipeline) == already
    assert bear(pipeline, mark)


def values_of(pipeline: Pipeline) -> Counter[bytes]:
    """How often each key of the users stands in the changelog."""
    known = {user for _, user in users()}
    keys = (message.key() for message in pipeline.read(pipeline.topics.monitors_changelog))
    return Counter(key for key in keys if codec.split_key(key)[0] in known)


def compact(pipeline: Pipeline) -> None:
    """Have the changelog compacted: of each key of the users only the newest value is left."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in COMPACTED_SOON.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, pipeline.topics.monitors_changelog, incremental_configs=entries)
    admin = new_admin(pipeline.settings, pipeline.settings.bootstrap_servers)
    admin.incremental_alter_configs([resource])[resource].result(60)
    looks = count(1)

    def is_compacted() -> bool:
        sign_up_late(pipeline, f"compacted-{next(looks)}")
        return set(values_of(pipeline).values()) == {1}

    wait_until("it is compacted", is_compacted, 120, 2)


def restore(pipeline: Pipeline) -> None:
    """End the workers and their tables, and have a new one restore all from the changelog."""
    for name in WORKERS:
        pipeline.processes.pop(name).stop()
    shutil.rmtree(pipeline.settings.data_dir / "workers")
    pipeline.ensure("worker")
    pipeline.wait_until_watched()


def sign_up_late(pipeline: Pipeline, name: str) -> None:
    """Sign one more user up on each partition, and wait until all that came before is taken in, too."""
    for number in range(PARTITIONS):
        pipeline.sign_up(f"{name}-{number}", every("m", "noop", "1h"), partition=number)
    known = {codec.table_key(f"{name}-{number}", "m") for number in range(PARTITIONS)}
    topic = pipeline.topics.monitors_changelog
    wait_until("all are known", lambda: known <= {message.key() for message in pipeline.read(topic)}, 60, 0.5)


def test_a_worker_whose_producer_is_fenced_by_mistake_takes_its_partition_up_again(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    worker = pipeline.processes["worker"]
    topic, settings = pipeline.topics.monitors_changelog, pipeline.settings
    other = TransactionalProducer(
        lambda number: new_transactional_producer(settings, settings.bootstrap_servers, f"{topic}-{number}"), 1
    )
    other.initialise()
    key = codec.table_key("ghost")
    # what a delayed worker might still write before it is fenced in its turn; a tombstone changes nothing
    [offset] = other.commit([RecordRun(topic, [(key, None, 0)])])
    assert offset >= 0
    wait_until("the worker finds out", lambda: LOST in worker.logged(), 30)
    sign_up_late(pipeline, "late")
    assert worker.runs
    other.close()


# what a process with this on its path does: it dies at one step of the unit of work that writes the user "doomed"
DEATHS = {
    "begun": "",
    "sent": "dies(Transactions, 'call_patiently', before=True)",
    "before the commit": "dies(Transactions, 'call_patiently', before=True, flushes=True)",
    "after the commit": "dies(Transactions, 'call_patiently', before=False)",
    "before the local table is written": "dies(EntryStore, 'write', before=True)",
    "after the local table is written": "dies(EntryStore, 'write', before=False)",
}
SABOTAGE = """
import os, signal
from everwatch.kafka.transactional_producer import TransactionalProducer as Transactions
from streams.state.entry_store import EntryStore

doomed = []
produce = Transactions.enqueue

def noticed(self, producer, run, delivered):
    if any(b"doomed" in key for key, *_ in run.records):
        doomed.append(producer)
        if {at_once}:
            os.kill(os.getpid(), signal.SIGKILL)
    produce(self, producer, run, delivered)

def dies(owner, name, before, flushes=False):
    call = getattr(owner, name)

    def dying(self, *arguments):
        given = None if before else call(self, *arguments)
        if doomed:
            if flushes:
                doomed[0].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return call(self, *arguments) if before else given

    setattr(owner, name, dying)

Transactions.enqueue = noticed
{death}
"""


def test_a_worker_that_is_killed_at_any_step_of_a_unit_of_work_leaves_all_of_it_or_nothing(
    new_pipeline: NewPipeline, tmp_path: Path
) -> None:
    pipelines = [begin_to_die(new_pipeline(), tmp_path / step, step) for step in DEATHS]
    began = []
    for pipeline in pipelines:
        pipeline.wait_until_watched()
        sign_up(pipeline, "well")
    for pipeline in pipelines:
        wait_until_known(pipeline, "well")
        began.append(now_ms())
        sign_up(pipeline, "doomed")
    for pipeline, step in zip(pipelines, DEATHS, strict=True):
        assert pipeline.processes["worker"].wait() == -signal.SIGKILL, step
        written = [m for m in pipeline.read(pipeline.topics.monitors_changelog) if m.key().startswith(b"doomed")]
        assert len(written) in (0, 2), step
        del pipeline.environment["PYTHONPATH"]
        pipeline.ensure("worker")
    for pipeline in pipelines:
        pipeline.wait_until_watched()
        wait_until_known(pipeline, "doomed")
    begins = now_ms() + 2_000
    upto = begins + 2_000
    for pipeline, since in zip(pipelines, began, strict=True):
        pipeline.wait_for_time(upto)
        wait_until("nothing is missed", partial(is_complete, pipeline, since, begins, upto), 60, 0.5)


def begin_to_die(pipeline: Pipeline, folder: Path, step: str) -> Pipeline:
    """Start a worker that is going to die."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SABOTAGE.format(death=DEATHS[step], at_once=not DEATHS[step]))
    pipeline.environment["PYTHONPATH"] = str(folder)
    pipeline.ensure("worker")
    return pipeline


def sign_up(pipeline: Pipeline, user: str) -> None:
    pipeline.sign_up(user, every("m", "http", url="http://127.0.0.1:1/"), partition=0)


def wait_until_known(pipeline: Pipeline, user: str) -> None:
    key, topic = codec.table_key(user, "m"), pipeline.topics.monitors_changelog
    wait_until(f"{user} is known", lambda: key in {message.key() for message in pipeline.read(topic)}, 60, 0.5)


def is_complete(pipeline: Pipeline, well_since: int, doomed_since: int, upto: int) -> bool:
    """Tell whether both users' ticks are all there."""
    emitted = pipeline.emitted()
    since = {"well": well_since, "doomed": doomed_since}
    return not any(settle_ticks(emitted, {(user, "m"): 1_000}, begin, upto).missed for user, begin in since.items())
