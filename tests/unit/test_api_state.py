"""The console's view of the system and of a monitor: overview, explanation, latency, diagnosis, alerts, badges.

All in one file: one system that is looked at from several pages.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from support.api import START, Api, api
from support.notifying import Notifying, transition
from support.waiting import PATIENCE

from everwatch.api.diagnosing import LOOK_AGAIN_S, Diagnosing
from everwatch.api.overview import RESULTS_LOOKED_AT
from everwatch.api.permissions import Role
from everwatch.api.pinging import PingKeys
from everwatch.api.routing import Call
from everwatch.api.state_views import LagView
from everwatch.api.system import Installation
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.diagnosis.finding import Finding, well
from everwatch.kafka.lag import Lag
from everwatch.model import INLINE_EXECUTOR, CommandOutcome, Reply, Result, State, Status, Transition
from everwatch.store import Partition, Received, SinkBatch
from everwatch.store.letters import StoredLetter

SITE = {
    "monitor_id": "site",
    "name": "Web shop",
    "kind": "http",
    "config": {"url": "http://shop.example", "bearer": "hush"},
}
MINUTE = 60_000


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        await running.call("PUT", "/v1/users/ann", body={"plan": "pro", "monitors": [SITE]})
        yield running


def store(server: Api, *results: Result, transitions: tuple[Transition, ...] = ()) -> None:
    """Return what the sink would store of these."""
    place, offset = Partition("results", 0), server.store.offsets().get(Partition("results", 0), 0)
    taken = [Received(place, offset + i, START, each) for i, each in enumerate(results)]
    moved = Partition("transitions", 0)
    seen = [Received(moved, i, START, each) for i, each in enumerate(transitions)]
    offsets = {place: offset + len(results), moved: len(seen)}
    server.store.apply(SinkBatch(server.clock.now_ms(), offsets, results=taken, transitions=seen))


def result(
    at: int, status: Status = Status.SUCCESS, late_ms: int = 0, executor: str = "ex-1", attempt: int = 1
) -> Result:
    reason = "" if status is Status.SUCCESS else "status 500"
    return Result("ann", "site", at, "http", 1, status, reason, at + late_ms, 12.5, attempt, executor=executor)


async def overview(server: Api) -> dict[str, object]:
    server.clock.advance(1_000)
    answered = await server.call("GET", "/v1/overview")
    assert answered.status == 200, answered.data
    found: dict[str, object] = answered.json
    return found


async def test_the_overview_of_nothing_is_empty_and_no_error(server: Api) -> None:
    seen = await overview(server)
    assert seen["monitors"] == [{"state": "new", "kind": "http", "plan": "pro", "monitors": 1}]
    assert seen["users"] == {"pro": 1}
    assert seen["stored_at"] == 0
    assert seen["results"] == {
        "looked_at": 0,
        "since": server.clock.now_ms() - MINUTE,
        "per_s": 0.0,
        "by_status": {},
        "lateness_ms": None,
        "executors": [],
    }


async def test_the_overview_says_how_late_checks_began_and_which_executor_sees_everything_down(server: Api) -> None:
    store(
        server,
        *(result(START - 1_000 * i, late_ms=10 * i) for i in range(1, 10)),
        *(result(START - 1_000 * i, Status.FAILURE, 900, "ex-2") for i in range(11, 14)),
        # a retry and what no executor ran are late by intention
        result(START - 15_000, late_ms=30_000, attempt=2),
        result(START - 16_000, late_ms=30_000, executor=INLINE_EXECUTOR),
    )
    seen = (await overview(server))["results"]
    assert isinstance(seen, dict)
    assert seen["looked_at"] == 14
    assert seen["by_status"] == {"success": 11, "failure": 3}
    assert seen["lateness_ms"] == {"checks": 12, "p50": 60, "p99": 900, "most": 900}
    assert seen["executors"] == [
        {"executor": "ex-1", "results": 10, "failures": 0},
        {"executor": "ex-2", "results": 3, "failures": 3},
    ]
    assert seen["per_s"] == pytest.approx(14 / 60, abs=0.01)


async def test_the_overview_looks_at_the_newest_results_only_and_once_for_all_who_ask(server: Api) -> None:
    store(server, *(result(START - 10 * i) for i in range(RESULTS_LOOKED_AT + 50)))
    seen = (await overview(server))["results"]
    assert isinstance(seen, dict)
    assert seen["looked_at"] == RESULTS_LOOKED_AT
    assert seen["per_s"] == pytest.approx(100, rel=0.01)
    first = await server.call("GET", "/v1/overview")
    store(server, result(START + 500))
    assert (await server.call("GET", "/v1/overview")).data == first.data


async def test_the_overview_counts_the_changes_of_the_last_hour_by_minute(server: Api) -> None:
    def change(at: int, to: State, **more: bool) -> Transition:
        return Transition("ann", "site", at, State.UP, to, "", 1, **more)

    store(
        server,
        transitions=(
            change(START, State.DOWN),
            change(START - 61 * MINUTE, State.DOWN),
            change(START - 1, State.UP, alert=False),
            change(START - 2, State.DOWN, reminder=True),
        ),
    )
    seen = (await overview(server))["transitions"]
    assert isinstance(seen, dict)
    bars = seen["bars"]
    assert len(bars) == 60
    assert bars[-1]["at"] <= START < bars[-1]["at"] + MINUTE
    by_state = [each["by_state"] for each in bars if each["by_state"]]
    assert sorted(state for each in by_state for state in each) == ["down", "up"]
    assert sum(each["alerts"] for each in bars) == 1
    assert seen["truncated"] is False


async def test_a_monitor_is_explained_as_the_command_does_and_without_its_secrets(server: Api) -> None:
    store(server, result(START, late_ms=40))
    told = (await server.call("GET", "/v1/users/ann/monitors/site/explain")).json
    assert (told["state"], told["kind"], told["inline"]) == ("new", "http", False)
    assert told["schedule_text"].startswith("every ")
    assert told["next_runs"][0]["at"] > START
    assert told["owners"]["executors"] == ["executor-1"]
    assert (told["owners"]["worker"], told["broker"]) == ("worker-of-0", "")
    assert told["config"]["bearer"] == {"$redacted": True}
    assert told["results"][0]["reason"] == ""
    server.worker.failure = BrokerUnavailable("Kafka is away.")
    alone = (await server.call("GET", "/v1/users/ann/monitors/site/explain")).json
    assert (alone["owners"], alone["broker"]) == (None, "Kafka is away.")
    assert (await server.call("GET", "/v1/users/ann/monitors/none/explain")).code == "not_found"


async def test_latency_comes_by_hour_and_by_day_from_what_was_counted(server: Api) -> None:
    hour = 3_600_000
    begin = START // (24 * hour) * 24 * hour
    server.clock.advance(begin + 3 * hour - START)
    store(
        server, *(result(begin + i * MINUTE) for i in range(90)), result(begin + 5 * MINUTE, Status.FAILURE, attempt=2)
    )
    path = "/v1/users/ann/monitors/site/latency"
    hours = (await server.call("GET", f"{path}?step=hour")).json
    assert [(each["at"] - begin, each["successes"], each["failures"]) for each in hours["items"]] == [
        (0, 60, 1),
        (hour, 30, 0),
    ]
    assert hours["items"][0]["p50_ms"] == pytest.approx(12.5, rel=0.02)
    days = (await server.call("GET", f"{path}?step=day&since={begin}")).json
    assert [(each["length_ms"], each["successes"]) for each in days["items"]] == [(24 * hour, 90)]
    assert (await server.call("GET", f"{path}?since=1")).code == "invalid_parameter"
    assert (await server.call("GET", f"{path}?since=9&until=8")).code == "invalid_parameter"
    assert (await server.call("GET", f"{path}?step=week")).code == "invalid_parameter"


async def test_the_diagnosis_tells_faults_with_their_remedy(server: Api) -> None:
    seen = (await server.call("GET", "/v1/diagnosis")).json
    assert seen["running"] is False
    assert seen["at"] == START
    assert seen["findings"][1] == {
        "name": "sink",
        "ok": False,
        "says": "it is 9 s behind",
        "remedy": "Start another one.",
    }


async def test_a_diagnosis_that_takes_long_keeps_nobody_waiting_and_runs_once() -> None:
    clock, may_end, runs = SettableClock(START), threading.Event(), []

    def diagnose() -> list[Finding]:
        runs.append(clock.now_ms())
        assert may_end.wait(30 * PATIENCE)
        return [well("broker", "it answers")]

    diagnosing = Diagnosing(diagnose, clock, wait_s=0.01)
    call = Call({}, None)  # type: ignore[arg-type]
    for _ in range(3):
        answer = await diagnosing.diagnosis(call)
        assert (answer.body.at, answer.body.running, answer.body.findings) == (0, True, [])
    may_end.set()
    async with asyncio.timeout(30 * PATIENCE):
        while (await diagnosing.diagnosis(call)).body.running:
            await asyncio.sleep(0.01)
    assert len(runs) == 1
    clock.advance(int(LOOK_AGAIN_S * 1_000))
    assert (await diagnosing.diagnosis(call)).body.findings
    async with asyncio.timeout(30 * PATIENCE):
        while (await diagnosing.diagnosis(call)).body.running:
            await asyncio.sleep(0.01)
    assert len(runs) == 2


def letter(offset: int, **more: object) -> StoredLetter:
    given: dict[str, object] = {
        "partition": 2, "offset": offset, "refused_at": START - 1_000 * offset, "reason": "there is no plan 'gold'",
        "alike": "there is no plan '…'", "path": "$.plan", "code": "unknown_plan", "refused_by": "worker",
        "source_topic": "signups", "source_partition": 2, "source_offset": 41, "source_ms": START, "user_id": "anna",
        "key": "anna", "encoding": "json", "value": '{"plan":"gold"}', "problem": "",
    }  # fmt: skip
    return StoredLetter(**given | more)  # type: ignore[arg-type]


async def test_dead_letters_come_in_pages_with_what_was_refused_and_counted_by_reason(server: Api) -> None:
    place = Partition("dead-letters", 2)
    refused = [
        *(letter(i) for i in range(3)),
        letter(3, code="invalid", alike="what", reason="what", source_topic="commands", value="{", problem="not JSON"),
        letter(10 * 86_400),
    ]
    received = [Received(place, i, START, each) for i, each in enumerate(refused)]
    server.store.apply(SinkBatch(START, {place: 5}, letters=received))
    first = (await server.call("GET", "/v1/dead-letters?limit=2")).json
    assert [each["letter"] for each in first["items"]] == ["2/0", "2/1"]
    assert first["items"][0]["value"] == {"plan": "gold"}
    assert (first["items"][0]["path"], first["items"][0]["source_topic"]) == ("$.plan", "signups")
    assert first["truncated"] is True
    assert [(each["code"], each["reason"], each["count"]) for each in first["counts"]] == [
        ("unknown_plan", "there is no plan '…'", 3),
        ("invalid", "what", 1),
    ], "of the last week"
    rest = (await server.call("GET", f"/v1/dead-letters?limit=9&cursor={first['next']}")).json
    assert [each["letter"] for each in rest["items"]] == ["2/2", "2/3", "2/864000"]
    assert (rest["counts"], rest["truncated"]) == ([], False)
    assert rest["items"][1]["value"] == "{"
    some = (await server.call("GET", "/v1/dead-letters?source=commands&user=anna&code=invalid&reason=WHAT")).json
    assert [each["letter"] for each in some["items"]] == ["2/3"]
    assert (await server.call("GET", f"/v1/dead-letters?user=x&cursor={first['next']}")).code == "invalid_cursor"
    for role in (Role.VIEWER, Role.OPERATOR):
        assert (await server.call("GET", "/v1/dead-letters", token=server.token(role))).status == 403


async def test_the_outcome_of_a_command_is_told_after_a_restart_too(server: Api) -> None:
    path = "/v1/users/ann/commands/c-1"
    assert (await server.call("GET", path)).status == 404
    reply = Reply("c-1", "ann", "site", "pause", CommandOutcome.DONE, "", "", 2, START)
    place = Partition("replies", 0)
    server.store.apply(SinkBatch(START, {place: 1}, replies=[Received(place, 0, START, reply)]))
    told = (await server.call("GET", path)).json
    assert (told["answer"], told["version"], told["monitor_id"]) == ("done", 2, "site")
    found = "/v1/commands/c-1"
    assert (await server.call("GET", f"{found}?user=ann")).json == told
    assert (await server.call("GET", found)).code == "invalid_parameter"
    hers, others = server.token(Role.VIEWER, "ann"), server.token(Role.VIEWER, "bob")
    assert (await server.call("GET", found, token=hers)).json == told
    assert (await server.call("GET", found, token=others)).code == "not_found"
    assert (await server.call("GET", f"{found}?user=ann", token=others)).code == "forbidden"


LISTS = ("/v1/incidents", "/v1/deliveries", "/v1/channels")


async def test_without_a_notifier_there_are_no_alerts_and_it_is_said_why(server: Api) -> None:
    for path in (*LISTS, "/v1/users/ann/monitors/site/notifications"):
        seen = await server.call("GET", path)
        assert (seen.status, seen.json["available"]) == (200, False)
        assert "no notifier" in seen.json["reason"]


@pytest.fixture
async def notified(server: Api, tmp_path: Path) -> AsyncIterator[Api]:
    """The server beside a notifier that knows two users and an incident of each."""
    notifying = Notifying(Settings(data_dir=tmp_path))
    for user in ("ann", "bob"):
        notifying.sign_up(user)
        notifying.tell(transition("new", "up", 1, user, "site", alert=False), transition("up", "down", 2, user, "site"))
    await notifying.later(10_000)
    server.storage = notifying.storage
    yield server
    notifying.close()


async def test_incidents_messages_and_why_are_those_of_the_notifier(notified: Api) -> None:
    incidents = (await notified.call("GET", "/v1/incidents")).json
    assert [(each["user_id"], each["phase"], each["reason"]) for each in incidents["items"]] == [
        ("ann", "open", "status 500"),
        ("bob", "open", "status 500"),
    ]
    assert (incidents["available"], incidents["truncated"]) == (True, False)
    assert (await notified.call("GET", "/v1/incidents?limit=1")).json["truncated"] is True
    sent = (await notified.call("GET", "/v1/deliveries?state=sent&user=ann")).json["items"]
    assert [(each["route"], each["sender"], each["alerts"]) for each in sent] == [("mail", "email", 1)]
    assert "site" in sent[0]["summary"]
    assert (await notified.call("GET", "/v1/deliveries?state=lost")).code == "invalid_parameter"
    why = (await notified.call("GET", "/v1/users/ann/monitors/site/notifications")).json
    assert why["incident"]["state"] == "down"
    assert why["events"][0]["to_state"] == "down"
    assert why["events"][0]["verdict"]
    assert (await notified.call("GET", "/v1/channels")).json["items"] == []


async def test_a_token_of_one_user_sees_that_users_alerts_alone(notified: Api) -> None:
    hers = notified.token(Role.VIEWER, "ann")
    for path in LISTS:
        seen = await notified.call("GET", path, token=hers)
        assert seen.status == 200
        assert b"bob" not in seen.data
        assert all(each["user_id"] == "ann" for each in seen.json["items"]), "and not what operators are told"
        assert (await notified.call("GET", f"{path}?user=bob", token=hers)).code == "forbidden"


async def test_timelines_have_the_states_of_a_page_of_monitors(server: Api) -> None:
    for user in ("bob", "eve"):
        await server.call("PUT", f"/v1/users/{user}", body={"monitors": [SITE]})
    page = (await server.call("GET", "/v1/monitors?limit=2")).json
    found = (await server.call("GET", "/v1/timelines?limit=2&bars=4")).json
    assert [each["user_id"] for each in found["items"]] == [each["user_id"] for each in page["items"]] == ["ann", "bob"]
    for each in found["items"]:
        path = f"/v1/users/{each['user_id']}/monitors/{each['monitor_id']}/timeline"
        one = (await server.call("GET", f"{path}?bars=4&since={found['begin']}&until={found['end']}")).json
        assert each["states"] == [bar["state"] for bar in one["bars"]]
        assert each["availability"] == one["whole"]["availability"]
    following = (await server.call("GET", f"/v1/timelines?limit=2&cursor={page['next']}")).json
    assert [each["user_id"] for each in following["items"]] == ["eve"]
    hers = (await server.call("GET", "/v1/timelines", token=server.token(Role.VIEWER, "bob"))).json
    assert {each["user_id"] for each in hers["items"]} == {"bob"}
    assert (await server.call("GET", "/v1/timelines?cursor=x")).code == "invalid_cursor"
    assert (await server.call("GET", "/v1/timelines?since=2&until=1")).code == "invalid_parameter"


async def test_the_lag_is_the_last_one_while_kafka_takes_long_to_say_another() -> None:
    clock, may_go_on, asked = SettableClock(START), threading.Event(), 0

    def measure() -> Lag:
        nonlocal asked
        asked += 1
        if asked == 2:
            may_go_on.wait()
        return Lag(START + asked, (), {})

    installation = Installation(None, measure, lambda: None, dict, clock)  # type: ignore[arg-type]

    async def lag_at() -> int:
        answer = await installation.lag(None)  # type: ignore[arg-type]
        assert isinstance(answer.body, LagView)
        return answer.body.at

    assert await lag_at() == START + 1
    assert await lag_at() == START + 1, "a moment ago"
    clock.advance(30_000)
    assert [await lag_at(), await lag_at()] == [START + 1] * 2, "the broker is asked once, and has not answered"
    assert asked == 2
    may_go_on.set()
    async with asyncio.timeout(PATIENCE):
        while await lag_at() != START + 2:
            await asyncio.sleep(0)


async def test_timelines_say_when_the_certificate_ends_that_the_last_run_saw(server: Api) -> None:
    watched = {"monitor_id": "cert", "kind": "tls", "config": {"host": "shop.example"}}
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE, watched]})

    async def ends() -> dict[str, int | None]:
        items = (await server.call("GET", "/v1/timelines?user=ann")).json["items"]
        return {each["monitor_id"]: each["certificate_ends_at"] for each in items}

    assert await ends() == {"site": None, "cert": None}
    seen = {"timings": {"total": 3.0, "certificate_left": 90_000.0}, "monitor_id": "cert", "kind": "tls"}
    store(server, msgspec.structs.replace(result(START - 5_000), **seen), result(START - 5_000))
    assert await ends() == {"site": None, "cert": START + 85_000}
    unseen = {**seen, "timings": {"total": 3.0}}
    store(server, msgspec.structs.replace(result(START - 1_000, Status.FAILURE), **unseen))
    assert await ends() == {"site": None, "cert": None}, "the last run saw none"


async def test_a_badge_shows_the_state_to_whoever_has_its_key(server: Api) -> None:
    where = (await server.call("GET", "/v1/users/ann/monitors/site/badge")).json
    badge = await server.call("GET", where["svg"], token=None)
    assert (badge.status, badge.headers["Content-Type"]) == (200, "image/svg+xml")
    assert badge.headers["Cache-Control"] == "public, max-age=30"
    assert badge.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    drawing = ElementTree.fromstring(badge.data)
    assert drawing.attrib["aria-label"] == "Web shop: new"
    again = await server.call("GET", where["svg"], token=None, If_None_Match=badge.headers["ETag"])
    assert again.status == 304
    odd = await server.call("GET", f"{where['svg']}?label=%3Cscript%3E%26%22", token=None)
    assert ElementTree.fromstring(odd.data).attrib["aria-label"] == '<script>&": new'
    assert (await server.call("GET", where["json"], token=None)).json == {
        "schemaVersion": 1,
        "label": "Web shop",
        "message": "new",
        "color": "#5b6472",
    }
    thin, thick = [
        int(ElementTree.fromstring((await server.call("GET", f"{where['svg']}?label={text}")).data).attrib["width"])
        for text in ("illili", "mmWWmm")
    ]
    assert 2 * thin < thick + 40, "a label is as wide as its letters"
    share = (await server.call("GET", f"{where['json']}?show=uptime&days=7", token=None)).json
    assert share["message"] == "unknown"
    await server.call("DELETE", "/v1/users/ann/monitors/site")
    assert (await server.call("GET", where["json"], token=None)).json["message"] == "unknown"


async def test_a_key_of_one_use_is_none_of_another_and_none_can_be_guessed(server: Api) -> None:
    badge = server.ping_keys.badge_key_of("ann", "site")
    assert (await server.call("GET", f"/ping/{badge}/site", token=None)).status == 404
    ping = server.ping_keys.key_of("ann")
    for key in (ping, badge[:-1], badge.partition(".")[0], "x", f"{badge}.svg"):
        assert (await server.call("GET", f"/badge/{key}.svg", token=None)).code == "not_found"
    assert PingKeys().badge_of(badge) is None
    assert server.ping_keys.badge_of(badge) == ("ann", "site")


async def test_facets_count_each_filter_under_what_the_others_say(server: Api) -> None:
    for user_id, plan, kinds in (("ann", "gold", ("noop", "heartbeat")), ("bob", "free", ("noop",))):
        monitors = [
            {"monitor_id": kind, "kind": kind, "labels": {"env": user_id}}
            | ({"schedule": {"every": "1m"}} if kind == "noop" else {"config": {"period": "1h"}})
            for kind in kinds
        ]
        await server.call("PUT", f"/v1/users/{user_id}", body={"plan": plan, "monitors": monitors})
    await server.call("POST", "/v1/users/ann/monitors/noop/pause", body={})
    everything = (await server.call("GET", "/v1/monitors/facets")).json
    assert everything == {
        "states": {"new": 2, "paused": 1}, "kinds": {"noop": 2, "heartbeat": 1}, "plans": {"gold": 2, "free": 1},
        "complete": True,
    }  # fmt: skip
    paused = (await server.call("GET", "/v1/monitors/facets?state=paused&plan=gold")).json
    assert (paused["states"], paused["kinds"]) == ({"new": 1, "paused": 1}, {"noop": 1})
    of_label = (await server.call("GET", "/v1/monitors/facets?label=env%3Dann&kind=noop")).json
    assert of_label == {
        "states": {"paused": 1}, "kinds": {"noop": 1, "heartbeat": 1}, "plans": None, "complete": True,
    }  # fmt: skip
    hers = (await server.call("GET", "/v1/monitors/facets", token=server.token(Role.VIEWER, "bob"))).json
    assert hers["kinds"] == {"noop": 1}
