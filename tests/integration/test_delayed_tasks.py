"""Delayed tasks: kept on disk until their time comes, run once, whatever happens to the worker meanwhile."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from conftest import NewPipeline
from support.pipeline import PARTITIONS, Pipeline, every
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.kafka.compression import codec_named
from everwatch.model import At, Monitor, MonitorSpec, Origin, State
from everwatch.timetable import unframed
from streams.app import create_app
from streams.state.entry_store import EntryStore
from streams.state.owned_partition import OwnedPartition
from streams.state.owned_partitions import OwnedPartitions
from streams.state.time_indexes import dates_of_entry, index_keys
from streams.state.timetable_planner import TimetablePlanner
from streams.ticking.due_index_loader import DueIndexLoader

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
PACKING = codec_named("lz4")
Fired = tuple[str, str, int]

# --- hours in an instant: store, index and timetable with a clock that is set -----------------------------------------

START = 1_800_000_000_000


class Hours:
    """One partition of a worker without Kafka."""

    def __init__(self, folder: Path) -> None:
        self.clock = SettableClock(START)
        self.fired: Counter[Fired] = Counter()
        self._folder = folder
        self.limits: dict[str, int] = {}
        self._store = self._opened()

    def _opened(self) -> EntryStore:
        settings = Settings()
        self._app, engine = create_app(settings, "127.0.0.1:9", self.clock, self._folder)
        self._app.finalize()
        return engine.table.store

    async def open(self, emitted_to: int) -> None:
        """Own the partition."""
        planner = TimetablePlanner(PACKING, self.clock)

        self._partitions = OwnedPartitions(planner, self._store)
        assert await self._partitions.open({0}, {0: emitted_to})
        self._delayed = DueIndexLoader(self._partitions, planner, self._store, **self.limits)

    async def start_again(self, after_ms: int = 0, *, crash: bool = False) -> None:
        """The worker is gone for a while, and another one goes on where it was."""
        emitted_to = self.partition.emitted_to

        async def closed(_: int, reached: int) -> None:
            assert reached == emitted_to

        if not crash:
            await self._partitions.close({0}, closed)
        await self._store.stop()
        self.clock.advance(after_ms)
        self._store = self._opened()
        await self.open(emitted_to)

    async def stop(self) -> None:
        await self._store.stop()

    @property
    def partition(self) -> OwnedPartition:
        return self._partitions[0]

    def put(self, user_id: str, at: int, version: int = 1) -> None:
        """A task as registration writes it, into the store and (while it is open) the timetable."""
        spec = MonitorSpec("task", "http", '{"url":"http://127.0.0.1:1/"}', At(at))
        since = max(self.clock.now_ms(), self.partition.emitted_to)
        self._change(user_id, Monitor(user_id, spec, Origin.SIGNUP, version, since))

    def cancel(self, user_id: str) -> None:
        self._change(user_id, None)

    def _change(self, user_id: str, after: Monitor | None) -> None:
        key = codec.table_key(user_id, "task")
        value = self._store.read(0, key)
        before = codec.decode_entry(key, value) if value is not None else None
        assert before is None or isinstance(before, Monitor)
        if before is not None and after is not None:
            after = msgspec.structs.replace(after, version=before.version + 1)
        written = codec.encode_entry(after) if after else None
        indexed = index_keys(key, dates_of_entry(key, written)) if written else []
        self._store.write(0, {key: written}, 1, indexed)
        TimetablePlanner(PACKING, self.clock).replace(self.partition, before, after)

    async def pass_by(self, ms: int, step_ms: int = MINUTE_MS) -> None:
        """Let time pass, with a sweep at every step."""
        end = self.clock.now_ms() + ms
        while self.clock.now_ms() < end:
            self.clock.advance(step_ms)
            await self._delayed.load_ahead()
            await self.sweep()

    async def sweep(self) -> None:
        upto, timetable = self.clock.now_ms(), self.partition.timetable
        await self._delayed.load(self.partition, upto)
        for firing in timetable.due(upto):
            for delta, record in firing.chunk.entries(PACKING):
                tick = codec.decode_tick(*unframed(record), 0, 0)
                for instant in firing.fire:
                    self.fired[tick.user_id, tick.monitor_id, instant + delta] += 1
        timetable.mark_emitted(upto)

    async def load_ahead(self) -> int:
        """Return how many tasks are in memory after a look ahead."""
        await self._delayed.load_ahead()
        return len(self.partition.timetable)


@pytest.fixture
async def hours(tmp_path: Path) -> AsyncIterator[Hours]:
    running = Hours(tmp_path)
    await running.open(START)
    yield running
    await running.stop()


def once(tasks: dict[str, int]) -> Counter[Fired]:
    return Counter({(user, "task", at): 1 for user, at in tasks.items()})


async def test_tasks_hours_ahead_are_on_disk_only_and_run_once_at_their_instants(hours: Hours) -> None:
    tasks = {f"user-{number}": START + 2 * HOUR_MS + number * 3_607 for number in range(2_000)}
    for user, at in tasks.items():
        hours.put(user, at)
    assert await hours.load_ahead() == 0, "none of them is due within the hour"

    await hours.pass_by(HOUR_MS + MINUTE_MS)
    soon = [at for at in tasks.values() if at <= hours.clock.now_ms() + HOUR_MS]
    assert 0 < await hours.load_ahead() == len(soon) < 50
    assert not hours.fired

    await hours.pass_by(HOUR_MS + 2_000 * 3_607, 10 * SECOND_MS)
    assert hours.fired == once(tasks)
    assert await hours.load_ahead() == 0


async def test_cancelled_tasks_never_run_and_those_put_off_run_at_the_new_instant_alone(hours: Hours) -> None:
    tasks = {f"user-{number}": START + HOUR_MS + number * MINUTE_MS for number in range(120)}
    for user, at in tasks.items():
        hours.put(user, at)
    for stage in range(3):  # beyond the horizon, within it, and after a restart
        for number in range(stage, 60, 6):
            hours.cancel(f"user-{number}")
            del tasks[f"user-{number}"]
        for number in range(stage + 3, 60, 6):
            tasks[f"user-{number}"] += 2 * HOUR_MS
            hours.put(f"user-{number}", tasks[f"user-{number}"])
        await hours.pass_by(20 * MINUTE_MS)
        if stage == 1:
            await hours.start_again()
    hours.put("user-119", START)
    del tasks["user-119"]
    late = hours.clock.now_ms() + 1
    await hours.pass_by(5 * HOUR_MS)
    assert hours.fired == once(tasks) + Counter({("user-119", "task", late): 1})


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
async def test_tasks_due_while_no_worker_ran_are_run_by_the_next_one(hours: Hours, crash: bool) -> None:
    tasks = {f"user-{number}": START + number * 10 * MINUTE_MS for number in range(1, 60)}
    for user, at in tasks.items():
        hours.put(user, at)
    await hours.pass_by(2 * HOUR_MS)
    await hours.start_again(after_ms=3 * HOUR_MS, crash=crash)
    await hours.sweep()
    assert hours.fired == once({user: at for user, at in tasks.items() if at <= hours.clock.now_ms()})
    await hours.start_again(crash=crash)
    await hours.pass_by(6 * HOUR_MS)
    assert hours.fired == once(tasks)


async def test_a_crowd_at_one_instant_is_loaded_piece_by_piece_and_runs_once(hours: Hours) -> None:
    hours.limits = {"most": 100, "at_once": 7}
    await hours.start_again()
    at = START + 10 * MINUTE_MS
    tasks = {f"user-{number}": at + number // 500 for number in range(1_500)}
    for user, instant in tasks.items():
        hours.put(user, instant)
    assert 100 <= await hours.load_ahead() <= 107, "the rest stays on disk until it is needed"
    hours.cancel("user-0")  # one that is loaded, and one that is not
    hours.cancel("user-999")
    hours.put("another", at)
    del tasks["user-0"], tasks["user-999"]
    await hours.pass_by(20 * MINUTE_MS)
    assert hours.fired == once(tasks | {"another": at})


# --- real workers, killed ---------------------------------------------------------------------------------------------

USERS = [f"user-{number}" for number in range(8)]
CROWD = 100


def task(monitor_id: str, at: int, kind: str = "http") -> dict[str, object]:
    config = {"url": "http://127.0.0.1:1/"} if kind == "http" else {}
    return every(monitor_id, kind, **config) | {"schedule": {"at": at}}


def kept_or_wiped(new_pipeline: NewPipeline) -> dict[str, Pipeline]:
    """Two workers of their own: what happens to both takes no longer than with one."""
    pipelines = {"local state kept": new_pipeline(), "local state wiped": new_pipeline()}
    for pipeline in pipelines.values():
        pipeline.ensure("worker")
    for pipeline in pipelines.values():
        pipeline.wait_until_watched()
    for pipeline in pipelines.values():
        # the instants of tasks are some seconds ahead: from here on the workers keep up
        pipeline.wait_for_progress(now_ms())
    return pipelines


def fired(pipeline: Pipeline) -> Counter[Fired]:
    found: Counter[Fired] = Counter()
    for tick, copies in pipeline.emitted().items():
        found[tick.user_id, tick.monitor_id, tick.scheduled_at] += copies
    return found


def noop_results(pipeline: Pipeline) -> Counter[Fired]:
    results = [codec.decode_result(message.value()) for message in pipeline.read(pipeline.topics.results)]
    return Counter((result.user_id, result.monitor_id, result.scheduled_at) for result in results)


def table(pipeline: Pipeline) -> dict[tuple[str, str], Monitor | None]:
    """Monitors as the changelog has them."""
    found: dict[tuple[str, str], Monitor | None] = {}
    for message in pipeline.read(pipeline.topics.monitors_changelog):
        entry = codec.decode_entry(message.key(), message.value()) if message.value() is not None else None
        found[codec.split_key(message.key())] = entry if isinstance(entry, Monitor) else None
    return found


def command(pipeline: Pipeline, partition: int, name: str, user_id: str, **more: object) -> None:
    pipeline.send(pipeline.topics.commands, user_id, {"command": name, "user_id": user_id, **more}, partition=partition)


def test_tasks_run_once_through_a_crash_of_the_worker_with_its_local_state_or_without(
    new_pipeline: NewPipeline,
) -> None:
    pipelines = kept_or_wiped(new_pipeline)
    begin = now_ms()
    # far enough ahead for signups and commands to be taken before, on a busy machine too
    soon, cancelled, away, put_off, after = (begin + seconds * SECOND_MS for seconds in (30, 36, 56, 57, 74))
    expected: Counter[Fired] = Counter()
    for number, user in enumerate(USERS):
        crowd = {f"crowd-{each}": soon for each in range(CROWD)}
        single = {"soon": soon + number * 137, "away": away + number * 41, "after": after + number * 53}
        for name, at in (crowd | single | {"put-off": put_off}).items():
            expected[user, name, at] = 1
        doomed = {"cancelled": cancelled, "cancelled-later": away, "put-off": cancelled, "far": begin + 3 * HOUR_MS}
        tasks = [task(name, at) for name, at in (crowd | single | doomed).items()]
        tasks += [task("late", begin - HOUR_MS), task("nothing", soon, "noop")]
        for pipeline in pipelines.values():
            pipeline.sign_up(user, *tasks, partition=number % PARTITIONS)
    for pipeline in pipelines.values():
        # commands are another topic, and may overtake signups
        wait_until("all are known", lambda p=pipeline: table(p).keys() >= {(user, "cancelled") for user in USERS})
    for number, user in enumerate(USERS):
        for pipeline in pipelines.values():
            for name in ("cancelled", "cancelled-later"):
                command(pipeline, number % PARTITIONS, "delete", user, monitor_id=name)
            command(pipeline, number % PARTITIONS, "put", user, monitor=task("put-off", put_off))

    def late_ones(pipeline: Pipeline) -> Counter[Fired]:
        """A task that is signed up after its instant is due at once."""
        since = {key: monitor.since for key, monitor in table(pipeline).items() if monitor}
        return Counter({(user, "late", since[user, "late"] + 1): 1 for user in USERS})

    def up_to(instant: int, pipeline: Pipeline) -> Counter[Fired]:
        return late_ones(pipeline) + Counter({each: n for each, n in expected.items() if each[2] <= instant})

    for pipeline in pipelines.values():
        pipeline.wait_for_time(cancelled + 300)
        wait_until("tasks have run", lambda p=pipeline: not up_to(cancelled, p) - fired(p))
        monitors = table(pipeline)
        assert not any(monitors[user, name] for user in USERS for name in ("cancelled", "cancelled-later"))
        seen = fired(pipeline)
        assert Counter({each: n for each, n in seen.items() if each[2] < away}) == up_to(cancelled, pipeline)

    for name, pipeline in pipelines.items():
        # what is not noted yet would come again, as the same ticks
        pipeline.wait_for_progress(now_ms())
        pipeline.processes["worker"].kill()
        if "wiped" in name:
            shutil.rmtree(pipeline.settings.data_dir / "workers")
        pipeline.ensure("worker")
    for pipeline in pipelines.values():
        pipeline.wait_until_watched()
        # who signs up once more with a task that has run does not have it run again
        pipeline.sign_up("twice", task("once", begin), partition=0)
        pipeline.sign_up("twice", task("once", begin), partition=0)

    for pipeline in pipelines.values():
        pipeline.wait_for_time(after + 500)
        wait_until("all tasks have run", lambda p=pipeline: not up_to(after + SECOND_MS, p) - fired(p))
        of_users = Counter({each: n for each, n in fired(pipeline).items() if each[0] != "twice"})
        assert of_users == up_to(after + SECOND_MS, pipeline)
        twice = table(pipeline)["twice", "once"]
        assert twice is not None
        assert fired(pipeline) - of_users == Counter({("twice", "once", twice.since + 1): 1})

        # those that the worker judges itself are done after their run, for good
        assert noop_results(pipeline) == Counter({(user, "nothing", soon): 1 for user in USERS})
        monitors = table(pipeline)
        assert {monitor.state for user in USERS if (monitor := monitors[user, "nothing"])} == {State.DONE}
