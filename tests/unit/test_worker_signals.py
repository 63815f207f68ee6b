"""Tests of what a worker makes of signals: kept in the table, judged at looks, refused where they do not belong."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.calls import calls_of
from support.kinds import kind_given
from support.pipeline import every
from support.worker import START, TOPICS, Broker, Life, until, worker

from everwatch.core.clock import SettableClock
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kinds.heartbeat import HeartbeatKind
from everwatch.model import NO_SIGNALS, NOTHING, Monitor, Result, SignalState, State, Status
from everwatch.schedule.due import upcoming
from streams.state.entry_store import EntryStore


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(START)


@pytest.fixture
async def life(broker: Broker, clock: SettableClock, tmp_path: Path) -> AsyncIterator[Life]:
    async with worker(broker, tmp_path, clock) as life:
        broker.take(
            TOPICS.signups,
            {
                "user_id": "ann",
                "monitors": [
                    every("job", "heartbeat", period="1h", max_duration="10s"),
                    every("queue", "threshold", above=100, clear=90),
                    every("site", "http", url="http://127.0.0.1:1/"),
                ],
            },
        )
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        yield life


async def take(life: Life, *signals: dict[str, Any]) -> None:
    for signal in signals:
        life.broker.take(TOPICS.signals, {"user_id": "ann"} | signal)
    await until("the signals are taken", lambda: life.broker.is_acknowledged(TOPICS.signals))


def monitor(life: Life, monitor_id: str) -> Monitor:
    key = codec.table_key("ann", monitor_id)
    value = life.store.read(0, key)
    assert value is not None
    entry = codec.decode_entry(key, value)
    assert isinstance(entry, Monitor)
    return entry


def refused(life: Life) -> list[bytes | None]:
    return [value for _, value in life.broker.pairs[TOPICS.dead_letters]]


def results(life: Life, monitor_id: str) -> list[Result]:
    told = (codec.decode_result(value) for _, value in life.broker.pairs[TOPICS.results])
    return [result for result in told if result.monitor_id == monitor_id]


async def look(life: Life, monitor_id: str, instant: int) -> Result:
    """The result of the newest look at or before an instant."""
    await life.tick_to(instant)

    def found() -> list[Result]:
        return [result for result in results(life, monitor_id) if result.scheduled_at > instant - 1_000]

    await until(f"{monitor_id} is looked at", found)
    return found()[-1]


async def test_a_job_that_starts_fails_and_succeeds_is_judged_at_each_look(life: Life) -> None:
    await take(life, {"monitor_id": "job", "type": "start", "at": START + 100})
    assert (await look(life, "job", START + 5_000)).status is Status.SUCCESS
    running = await look(life, "job", START + 75_000)
    assert (running.status, running.reason[:40]) == (Status.FAILURE, "running since 2027-01-15 08:00:00.100Z, ")
    await take(life, {"monitor_id": "job", "exit_code": 3, "at": START + 80_000})
    failed = await look(life, "job", START + 81_000)
    assert failed.status is Status.FAILURE
    assert failed.reason.startswith("the job failed with exit code 3 after 79.9 s, at ")
    await take(
        life,
        {"monitor_id": "job", "type": "start", "at": START + 82_000},
        {"monitor_id": "job", "exit_code": 0, "at": START + 84_500},
    )
    well = await look(life, "job", START + 85_000)
    assert (well.status, well.timings) == (Status.SUCCESS, {"duration": 2_500})


async def test_a_job_by_cron_is_looked_at_when_its_grace_is_over_and_not_some_time_later(life: Life) -> None:
    nightly = {"monitor_id": "nightly", "kind": "heartbeat", "config": {"cron": "* * * * *", "grace": "45s"}}
    life.broker.take(TOPICS.signups, {"user_id": "ben", "monitors": [nightly]})
    await until("ben is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))
    # step by step: after a gap of more than five seconds the misfire rule would speak
    for at in range(4_000, 109_000, 4_000):
        await life.tick_to(START + at)
    seen = {result.scheduled_at - START: result.status for result in results(life, "nightly")}
    # expected at 08:01:00, and looked at every 15 s
    assert seen[60_000 + 30_000] is Status.SUCCESS
    assert seen[60_000 + 45_000] is Status.LATE


async def test_plain_heartbeats_leave_nothing_else_behind(life: Life) -> None:
    await take(
        life,
        {"monitor_id": "job", "at": START + 5},
        {"monitor_id": "job", "at": START + 9, "exit_code": 0},
        {"monitor_id": "job", "at": START + 7, "type": "success"},
    )
    assert (monitor(life, "job").last_signal, monitor(life, "job").signals) == (START + 9, NO_SIGNALS)


async def test_a_heartbeat_in_one_batch_with_a_start_counts_in_the_order_in_which_things_happened(life: Life) -> None:
    await take(
        life,
        {"monitor_id": "job", "at": START + 900},
        {"monitor_id": "job", "type": "start", "at": START + 400},
    )
    assert monitor(life, "job").signals == SignalState(duration_ms=500)
    # from now on plain ones take the long way too
    await take(life, {"monitor_id": "job", "at": START + 950})
    assert (monitor(life, "job").last_signal, monitor(life, "job").signals) == (START + 950, NO_SIGNALS)


async def test_values_breach_and_recover_and_a_peak_within_a_batch_is_judged_by_its_last_value(life: Life) -> None:
    await take(
        life, *({"monitor_id": "queue", "value": value, "at": START + at} for value, at in [(120, 30), (80, 60)])
    )
    assert (await look(life, "queue", START + 1_000)).reason == "the value is 80"
    await take(life, {"monitor_id": "queue", "value": 120, "at": START + 1_100})
    assert (await look(life, "queue", START + 2_000)).status is Status.FAILURE
    await take(life, {"monitor_id": "queue", "value": 95, "at": START + 2_100})
    assert (await look(life, "queue", START + 3_000)).reason.startswith("95 is not back at 90 yet")
    await take(life, {"monitor_id": "queue", "value": 90, "at": START + 3_100})
    assert (await look(life, "queue", START + 4_000)).status is Status.SUCCESS


async def test_a_signal_for_the_wrong_kind_is_refused_and_those_beside_it_are_not(life: Life) -> None:
    wrong = [
        {"user_id": "ann", "monitor_id": "job", "value": 7},
        {"user_id": "ann", "monitor_id": "queue"},
        {"user_id": "ann", "monitor_id": "queue", "type": "fail"},
        {"user_id": "ann", "monitor_id": "site", "type": "start"},
        {"user_id": "ann", "monitor_id": "site"},
        {"user_id": "ann", "monitor_id": "nobody", "value": 1},
        {"user_id": "ann", "monitor_id": "job", "type": "start", "exit_code": 1},
    ]
    right = [
        {"monitor_id": "job", "type": "start", "at": START + 4},
        {"monitor_id": "queue", "value": 7, "at": START + 5},
    ]
    await take(life, right[0], *wrong, right[1])
    assert sorted(bytes(value or b"") for value in refused(life)) == sorted(map(orjson.dumps, wrong))
    assert monitor(life, "job").signals == SignalState(started_at=START + 4)
    assert monitor(life, "queue").signals.value == 7


async def test_each_entry_is_read_once_whatever_a_batch_says_of_it(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    await take(life, {"monitor_id": "job", "type": "start", "at": START + 1})
    broker = life.broker
    # of the first one more is known than a plain one may change
    signals = [
        {"monitor_id": "job", "at": START + 2},
        {"monitor_id": "queue", "value": 7, "at": START + 3},
        {"monitor_id": "nobody", "at": START + 4},
        {"monitor_id": "queue", "value": 8, "at": START + 5},
    ]
    with calls_of(EntryStore.read_many, lambda given: sorted(given["keys"])) as reads:
        await life.handle(
            TOPICS.signals,
            [
                Record(TOPICS.signals, 0, offset, START, b"ann", orjson.dumps({"user_id": "ann"} | signal))
                for offset, signal in enumerate(signals)
            ],
        )
    assert reads == [[codec.table_key("ann", name) for name in ("job", "nobody", "queue")]]
    assert (monitor(life, "job").last_signal, monitor(life, "queue").signals.value) == (START + 2, 8)
    await until("the wrong one is refused", lambda: len(broker.pairs[TOPICS.dead_letters]) == 1)


async def test_another_kind_under_the_same_name_begins_without_signals(life: Life) -> None:
    await take(life, {"monitor_id": "job", "type": "fail", "at": START + 5})
    put = every("job", "threshold", above=1)
    life.broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [put]})
    await until("ann signed up again", lambda: life.broker.is_acknowledged(TOPICS.signups))
    assert (monitor(life, "job").last_signal, monitor(life, "job").signals) == (0, NO_SIGNALS)


async def test_a_failure_is_looked_at_again_where_the_policy_has_retries(life: Life) -> None:
    retries = {"max": 1, "backoff": "fixed", "base": "1s", "jitter": 0}
    job = every("job", "heartbeat", "10s", period="1h") | {"policy": {"retries": retries}}
    life.broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [job]})
    await until("ann signed up again", lambda: life.broker.is_acknowledged(TOPICS.signups))
    await take(life, {"monitor_id": "job", "type": "fail", "at": START + 5})
    first = await look(life, "job", due(life, "job"))
    assert (first.status, first.attempt) == (Status.FAILURE, 1)
    await feed_back(life)
    pending = monitor(life, "job")
    assert (pending.agenda.retry_of, pending.agenda.retry_attempt) == (first.scheduled_at, 2)
    await take(life, {"monitor_id": "job", "at": START + 6})
    await life.tick_to(pending.agenda.retry_at)
    await until("it is looked at again", lambda: results(life, "job")[-1].attempt == 2)
    again = results(life, "job")[-1]
    assert (again.status, again.scheduled_at) == (Status.SUCCESS, first.scheduled_at)
    await feed_back(life)
    assert (monitor(life, "job").state, monitor(life, "job").agenda) == (State.UP, NOTHING)


def due(life: Life, monitor_id: str) -> int:
    known = monitor(life, monitor_id)
    return upcoming(known, known.since, 1)[0]


async def feed_back(life: Life) -> None:
    """Bring the states to what the newest result says."""
    key, value = life.broker.pairs[TOPICS.results][-1]
    await life.handle(TOPICS.results, [Record(TOPICS.results, 0, 0, START, key, value)])


async def test_what_a_worker_knows_of_signals_its_successor_knows_too(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path / "first", clock) as first:
        job, queue = every("job", "heartbeat", period="1h"), every("queue", "threshold", above=100, clear=90)
        broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [job, queue]})
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        await take(
            first,
            {"monitor_id": "job", "exit_code": 3, "at": START + 5},
            {"monitor_id": "queue", "value": 120, "at": START + 5},
        )
    # with an empty folder: all it has is the changelog
    async with worker(broker, tmp_path / "second", clock) as second:
        await take(second, {"monitor_id": "queue", "value": 95, "at": START + 6})
        assert (await look(second, "job", START + 2_000)).reason.startswith("the job failed with exit code 3")
        assert (await look(second, "queue", START + 3_000)).reason.startswith("95 is not back at 90 yet")


@pytest.mark.parametrize(
    "answer", [("soon", None), (START, None), (None, 7)], ids=["neither", "no state", "no instant"]
)
async def test_a_kind_that_makes_of_a_signal_what_is_none_harms_its_own_monitors_only(
    life: Life, answer: tuple[object, object]
) -> None:
    class Careless(HeartbeatKind):
        def take(self, *_: object) -> Any:
            return answer

    before = monitor(life, "job")
    with kind_given(Careless()):
        await take(
            life,
            {"monitor_id": "job", "exit_code": 3, "at": START + 5},
            {"monitor_id": "queue", "value": 120, "at": START + 5},
        )
    assert len(refused(life)) == 1
    assert monitor(life, "job") == before
    assert monitor(life, "queue").last_signal == START + 5


async def test_what_a_job_printed_last_is_kept_and_says_nothing_of_how_it_went(life: Life) -> None:
    await take(life, {"monitor_id": "job", "type": "fail", "exit_code": 3, "at": START - 2_000})
    failed = monitor(life, "job").signals
    await take(life, {"monitor_id": "job", "type": "log", "body": "no space left", "at": START - 1_000})
    said = monitor(life, "job").signals
    assert (said.body, said.body_at) == ("no space left", START - 1_000)
    assert (said.failed_at, said.exit_code) == (failed.failed_at, failed.exit_code) == (START - 2_000, 3)
    # an older one comes late, a later signal without a body leaves it, one with a body replaces it
    await take(life, {"monitor_id": "job", "type": "log", "body": "began", "at": START - 3_000})
    await take(life, {"monitor_id": "job", "at": START - 500})
    assert monitor(life, "job").signals == SignalState(body="no space left", body_at=START - 1_000)
    assert monitor(life, "job").last_signal == START - 500
    await take(life, {"monitor_id": "job", "body": "2 files", "at": START})
    assert monitor(life, "job").signals == SignalState(body="2 files", body_at=START)
    assert monitor(life, "job").last_signal == START
    assert not refused(life)


@pytest.mark.parametrize("wrong", [{}, {"body": "x", "exit_code": 1}, {"body": "x", "value": 1}, {"body": "x" * 4_097}])
async def test_a_log_is_a_body_and_nothing_else(life: Life, wrong: dict[str, Any]) -> None:
    await take(life, {"monitor_id": "job", "type": "log"} | wrong)
    assert len(refused(life)) == 1
    assert monitor(life, "job").signals == NO_SIGNALS
