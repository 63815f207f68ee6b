"""Plans in a running worker: signups, quotas on commands, and a file that is edited under it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY
from support.calls import calls_of
from support.worker import START, TOPICS, Broker, Life, turns, until, worker

from everwatch.core.clock import SettableClock
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec, table_records
from everwatch.kafka.consumed_record import Record
from everwatch.model import CommandOutcome, Monitor, Quorum, Reply, Result, State, Status
from everwatch.plans.plans_file import PlansFile
from everwatch.rules.admission import admit_command
from streams.state.quotas import Quotas
from streams.state.unit_of_work import UnitOfWork

FILE = """
[plans.free]
max_monitors = 3
shortest_interval = "1m"

[[plans.free.monitors]]
monitor_id = "site"
config = { url = "https://{{user.attributes.site}}/" }
schedule = { every = "5m" }

[plans.pro]
weight = 4

[[plans.pro.monitors]]
monitor_id = "quick"
config = { url = "https://example.com/" }
schedule = { every = "1s" }

[plans.far]
regions = ["us", "eu"]
quorum = "any"

[[plans.far.monitors]]
monitor_id = "quick"
config = { url = "https://example.com/" }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "plans.toml"
    file.write_text(FILE)
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(file))
    monkeypatch.setenv("EVERWATCH_REGIONS", "ap,eu,us")
    return file


@pytest.fixture
async def life(file: Path, tmp_path: Path) -> AsyncIterator[Life]:
    broker = Broker()
    async with worker(broker, tmp_path / "worker", SettableClock(START)) as life:
        yield life


async def sign_up(life: Life, plan: str, site: str | None = "a.example", *own: dict[str, Any]) -> None:
    attributes = {} if site is None else {"site": site}
    given = {"user_id": "ann", "plan": plan, "attributes": attributes, "monitors": list(own)}
    life.broker.take(TOPICS.signups, given)
    await until("the signup is dealt with", lambda: life.broker.is_acknowledged(TOPICS.signups))


def monitors(life: Life) -> dict[str, Monitor]:
    rows = [(key, value) for key, value in life.store.scan(0, b"ann\0") if not codec.is_bookkeeping(key[4:])]
    found = [codec.decode_entry(key, value) for key, value in rows]
    return {entry.monitor_id: entry for entry in found if isinstance(entry, Monitor)}


def edit(file: Path, text: str) -> None:
    file.write_text(text)


def noop(monitor_id: str, every: str = "1h", **more: Any) -> dict[str, Any]:
    return {"monitor_id": monitor_id, "kind": "noop", "schedule": {"every": every}} | more


def http(monitor_id: str, **more: Any) -> dict[str, Any]:
    return {"monitor_id": monitor_id, "config": {"url": "https://example.com/"}, **more}


def task(monitor_id: str, at: int) -> dict[str, Any]:
    return noop(monitor_id, schedule={"at": at})


async def command(life: Life, *commands: dict[str, Any]) -> list[Reply]:
    """Carry out commands as one batch; gives the answers, in order."""
    already = len(life.broker.pairs[TOPICS.replies])
    records = [
        Record(
            TOPICS.commands,
            0,
            already + number,
            START,
            b"ann",
            orjson.dumps({"user_id": "ann", "command_id": f"c-{already + number}"} | each),
        )
        for number, each in enumerate(commands)
    ]
    await life.handle(TOPICS.commands, records)
    return [codec.decode_reply(value) for _, value in life.broker.pairs[TOPICS.replies][already:]]


def put(monitor: dict[str, Any]) -> dict[str, Any]:
    return {"command": "put", "monitor": monitor}


def delete(monitor_id: str) -> dict[str, Any]:
    return {"command": "delete", "monitor_id": monitor_id}


def answers(replies: list[Reply]) -> list[CommandOutcome]:
    return [reply.answer for reply in replies]


async def test_a_signup_is_all_it_takes_and_another_plan_replaces_its_monitors(life: Life) -> None:
    await sign_up(life, "free", "a.example", noop("mine"))
    assert set(monitors(life)) == {"site", "mine"}
    assert orjson.loads(monitors(life)["site"].spec.config) == {"url": "https://a.example/"}
    await command(life, put(noop("by-command")))
    await sign_up(life, "pro", "a.example", noop("mine"))
    assert set(monitors(life)) == {"quick", "mine", "by-command"}
    assert [user for user, _ in await life.tick_to(START + 3_000)].count("ann") >= 2


async def test_a_signup_that_cannot_be_filled_in_is_kept_with_its_reason(life: Life) -> None:
    await sign_up(life, "free", None)
    await sign_up(life, "gold")
    assert len(life.broker.pairs[TOPICS.dead_letters]) == 2
    assert monitors(life) == {}


async def test_a_new_monitor_beyond_the_quota_is_refused_and_those_that_are_there_may_be_changed(life: Life) -> None:
    await sign_up(life, "free", "a.example", noop("mine"))
    refused = (await command(life, put(noop("a")), put(noop("b")), put(noop("a", "2h")), put(noop("mine", "3h"))))[1]
    assert (refused.answer, refused.path) == (CommandOutcome.REFUSED, "$.monitor_id")
    assert refused.reason == "the plan 'free' allows 3 monitors, and this user has 3 already"
    assert set(monitors(life)) == {"site", "mine", "a"}
    assert monitors(life)["a"].version == 2


async def test_within_one_batch_what_is_deleted_makes_room(life: Life) -> None:
    await sign_up(life, "free", "a.example", noop("mine"))
    replies = await command(
        life, put(noop("a")), put(noop("b")), delete("a"), put(noop("b")), put(noop("a")), delete("b"), put(noop("c"))
    )
    done, refused = CommandOutcome.DONE, CommandOutcome.REFUSED
    assert answers(replies) == [done, refused, done, done, refused, done, done]


async def test_who_has_more_than_a_lesser_plan_allows_keeps_it_and_gets_no_more(life: Life) -> None:
    await sign_up(life, "pro")
    await command(life, *[put(noop(f"m-{number}")) for number in range(6)])
    await sign_up(life, "free")
    assert len(monitors(life)) == 7
    replies = await command(life, put(noop("more")), delete("m-0"), put(noop("more")), put(noop("m-1", "2h")))
    assert answers(replies) == [
        CommandOutcome.REFUSED,
        CommandOutcome.DONE,
        CommandOutcome.REFUSED,
        CommandOutcome.DONE,
    ]
    assert replies[0].reason == "the plan 'free' allows 3 monitors, and this user has more already"
    deletions = [delete(f"m-{number}") for number in range(1, 5)]
    replies = await command(life, put(noop("more")), *deletions, put(noop("more")))
    assert answers(replies) == [CommandOutcome.REFUSED, *[CommandOutcome.DONE] * 5]
    assert len(monitors(life)) == 3


async def test_a_task_counts_until_it_is_due(life: Life) -> None:
    await sign_up(life, "free", "a.example", noop("mine"))
    assert answers(await command(life, put(task("t-1", START + 10_000)), put(task("t-2", START + 10_000)))) == [
        CommandOutcome.DONE,
        CommandOutcome.REFUSED,
    ]
    await life.tick_to(START + 11_000)
    assert answers(await command(life, put(task("t-2", START + 20_000)))) == [CommandOutcome.DONE]
    # a task that is over begins anew, and is one more then
    assert answers(await command(life, put(task("t-1", START + 20_000)))) == [CommandOutcome.REFUSED]


async def test_only_what_does_not_count_may_be_too_much_to_be_passed_over(
    life: Life,
) -> None:
    async def check_another() -> None:
        assert life.engine.plans is not None
        plans = life.engine.plans.current
        assert plans is not None
        another = admit_command(orjson.dumps({"user_id": "ann"} | put(noop("more"))))
        async with life.engine.units.begin() as work:
            await Quotas(work, plans, most_passed_over=2).check(0, another, work.user(0, "ann"), None)

    await sign_up(life, "free", "a.example", noop("mine"))
    assert answers(await command(life, put(task("t-1", START + 10_000)))) == [CommandOutcome.DONE]
    with pytest.raises(InvalidInput, match="the plan 'free' allows 3 monitors, and this user has 3 already"):
        await check_another()
    await life.tick_to(START + 11_000)
    await check_another()
    assert answers(await command(life, put(task("t-2", START + 20_000)))) == [CommandOutcome.DONE]
    await life.tick_to(START + 21_000)
    with pytest.raises(InvalidInput, match="the plan 'free' has a quota, and this user has too many tasks that are"):
        await check_another()
    assert answers(await command(life, delete("t-1"))) == [CommandOutcome.DONE]
    await check_another()


async def test_a_large_quota_is_counted_in_turns_while_sweeps_go_on(life: Life, file: Path) -> None:
    plans = life.engine.plans
    assert isinstance(plans, PlansFile)
    before = plans.current
    edit(file, FILE.replace("max_monitors = 3", "max_monitors = 500"))
    await until("the file is seen", lambda: plans.current is not before)
    await sign_up(life, "free", "a.example", *[noop(f"m-{number}") for number in range(300)])
    async with turns() as given:
        with calls_of(
            UnitOfWork.monitors_of, lambda _: (life.partition.sweep_lock.locked(), given()), resumed=True
        ) as steps:
            assert answers(await command(life, put(noop("more")))) == [CommandOutcome.DONE]
    assert {stands_still for stands_still, _ in steps} == {False}
    assert len({turn for _, turn in steps}) > 1


async def test_runs_too_close_together_are_refused_for_puts_too(life: Life) -> None:
    await sign_up(life, "free")
    (refused,) = await command(life, put(noop("a", "10s")))
    assert (refused.answer, refused.path) == (CommandOutcome.REFUSED, "$.monitor.schedule")
    assert refused.reason == "the plan 'free' allows one run in 60 s, and this schedule has runs 10 s apart"
    (done,) = await command(life, put(noop("a", "60s")))
    assert done.answer is CommandOutcome.DONE


async def test_the_weight_of_a_plan_is_in_the_ticks_of_its_users_however_their_monitors_were_put(life: Life) -> None:
    await sign_up(life, "pro", "a.example", noop("mine", policy={"priority": "low"}))
    await command(life, put(noop("by-command")))
    assert {name: monitor.spec.policy.weight for name, monitor in monitors(life).items()} == {
        "quick": 4,
        "mine": 4,
        "by-command": 4,
    }
    quick = monitors(life)["quick"]
    assert codec.decode_tick(b"ann", table_records.timetable_fields_of(quick).tick, START, 0).weight == 4
    await sign_up(life, "free", "a.example", noop("mine"))
    assert monitors(life)["mine"].spec.policy.weight == 1


async def test_who_never_signed_up_has_the_usual_plan(life: Life, file: Path) -> None:
    assert answers(await command(life, *[put(noop(f"m-{number}")) for number in range(5)])) == [CommandOutcome.DONE] * 5


async def test_a_file_that_is_edited_applies_to_the_next_signup_and_a_broken_one_changes_nothing(
    life: Life, file: Path
) -> None:
    plans = life.engine.plans
    assert isinstance(plans, PlansFile)
    await sign_up(life, "free", "a.example", noop("mine"))
    edit(file, FILE.replace("https://", "http://"))
    before = plans.current
    await until("the file is seen", lambda: plans.current is not before)
    assert b"https://" in monitors(life)["site"].spec.config.encode()
    await sign_up(life, "free", "b.example")
    assert orjson.loads(monitors(life)["site"].spec.config) == {"url": "http://b.example/"}
    now = plans.current
    edit(file, "[plans.free]\n[plans.free]\n")
    await until("the broken file is seen", lambda: REGISTRY.get_sample_value("everwatch_plans_ok") == 0)
    await sign_up(life, "free", "c.example")
    assert plans.current is now
    assert orjson.loads(monitors(life)["site"].spec.config) == {"url": "http://c.example/"}


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_delayed_task_of_a_plan_runs_once_however_often_its_user_signs_up(
    life: Life, file: Path, is_known: bool
) -> None:
    edit(
        file,
        FILE + '[plans.new]\n[[plans.new.monitors]]\nmonitor_id = "welcome"\nschedule = { in = "2s" }\nkind="noop"',
    )
    plans = life.engine.plans
    assert isinstance(plans, PlansFile)
    await until("the file is seen", lambda: "new" in plans.current.all)
    if is_known:
        await sign_up(life, "pro")
    await sign_up(life, "new")
    first = monitors(life)["welcome"]
    await life.tick_to(START + 3_000)
    ran = Result("ann", "welcome", START + 2_000, "noop", 1, Status.SUCCESS, "", START + 2_000, 1.0, executor="x-1")
    value = codec.encode_result(ran, OutputFormat.AVRO)
    await life.handle(TOPICS.results, [Record(TOPICS.results, 0, 0, START, b"ann", value)])
    done = monitors(life)["welcome"]
    assert (done.state, done.spec, done.version) == (State.DONE, first.spec, 1)
    again = orjson.dumps({"user_id": "ann", "plan": "new", "attributes": {"site": "a.example"}})
    await life.handle(TOPICS.signups, [Record(TOPICS.signups, 0, 9, START + 5_000, b"ann", again)])
    assert monitors(life)["welcome"] == done
    assert sum(user == "ann" for user, _ in await life.tick_to(START + 10_000)) == 0


async def test_monitors_that_name_no_regions_have_those_of_the_plan(life: Life) -> None:
    own = http("mine", policy={"regions": ["ap"], "quorum": "all"})
    await sign_up(life, "far", "a.example", http("plain"), own, noop("inline"), http("asked", policy={"quorum": "all"}))
    await command(life, put(http("by-command")))
    assert {name: (each.spec.policy.regions, each.spec.policy.quorum) for name, each in monitors(life).items()} == {
        "quick": (("eu", "us"), Quorum.ANY),
        "plain": (("eu", "us"), Quorum.ANY),
        "asked": (("eu", "us"), Quorum.ALL),
        "mine": (("ap",), Quorum.ALL),
        # judged in the worker
        "inline": ((), Quorum.MAJORITY),
        "by-command": (("eu", "us"), Quorum.ANY),
    }
    await sign_up(life, "free", "a.example", http("plain"))
    assert monitors(life)["plain"].spec.policy.regions == ()


def test_plans_with_a_region_that_has_no_topics_are_not_taken(file: Path) -> None:
    monitor = '[[plans.free.monitors]]\nconfig = { url = "https://example.com/" }\n'
    for table in ('regions = ["mars"]', f'{monitor}policy = {{ regions = ["mars"] }}'):
        file.write_text(f"[plans.free]\n{table}\n")
        with pytest.raises(SettingsError, match=r"regions: the region 'mars' is not known; known: ap, eu, us"):
            PlansFile(file, ("ap", "eu", "us"))
