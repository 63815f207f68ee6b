"""Dead letters over HTTP: one shown, and some sent back to where they came from."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from support.api import START, Api, api
from support.schema_registry import own_schemas
from support.waiting import PATIENCE

from everwatch.api import letters
from everwatch.api.bodies import RedriveBody
from everwatch.api.database import Database
from everwatch.api.permissions import Role
from everwatch.api.routing import Call
from everwatch.api.state_views import RedriveView
from everwatch.core.config import Settings
from everwatch.encoding import avro_schemas, registered_schemas
from everwatch.encoding.codec import decode_signup
from everwatch.kafka.dead_letter_record import DeadLetter, SourcePosition
from everwatch.kafka.topics import Topics
from everwatch.model import Every
from everwatch.store import Partition, Received, SinkBatch
from everwatch.store.letters import StoredLetter


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        running.letters.held = [
            refused(0),
            refused(1, code="invalid", reason="this is not JSON"),
            refused(2, source=SourcePosition("results", 1, 7)),
            refused(3, cut=("value",)),
        ]
        yield running


def refused(offset: int, **more: Any) -> DeadLetter:
    source = SourcePosition("signups", 1, 40 + offset)
    plain = DeadLetter(
        SourcePosition("dead-letters", 2, offset), START + offset, "there is no plan 'gold'", "$.plan", "unknown_plan",
        "worker", source, START, b"ann", b"{}",
    )  # fmt: skip
    return plain._replace(**more)


async def redrive(server: Api, **body: Any) -> Any:
    answer = await server.call("POST", "/v1/dead-letters/redrive", body=body)
    assert answer.status == 200, answer.data
    return answer.json


async def test_a_stored_letter_is_shown_by_its_place(server: Api) -> None:
    one = StoredLetter(
        2, 7, START, "why", "why", "$.plan", "unknown_plan", "worker", "signups", 1, 47, START, "ann", "ann", "json",
        '{"a": 1}', "",
    )  # fmt: skip
    place = Partition("dead-letters", 2)
    server.store.apply(SinkBatch(START, {place: 8}, letters=[Received(place, 7, START, one)]))
    shown = (await server.call("GET", "/v1/dead-letters/2/7")).json
    assert (shown["letter"], shown["value"], shown["path"]) == ("2/7", {"a": 1}, "$.plan")
    assert (await server.call("GET", "/v1/dead-letters/2/8")).code == "not_found"
    assert (await server.call("GET", "/v1/dead-letters/2/x")).status == 422
    assert (await server.call("GET", "/v1/dead-letters/2/7", token=server.token(Role.OPERATOR))).status == 403


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(server: Api) -> None:
    told = await redrive(server, letters=["2/0", "2/2", "2/3", "9/9"], dry_run=True)
    assert (told["dry_run"], told["sent"], told["left_out"], told["missing"]) == (True, 1, 2, ["9/9"])
    first, of_results, cut = told["items"]
    assert first == {"letter": "2/0", "source": "signups/1", "to": None, "left_out": None}
    assert "came from results" in of_results["left_out"]
    assert "kept in part only" in cut["left_out"]
    assert (server.letters.sent, server.audit.entries) == ([], [])


async def test_letters_are_sent_back_once_and_that_is_logged(server: Api) -> None:
    told = await redrive(server, code="unknown_plan", user="ann")
    assert [(each["letter"], each["to"]) for each in told["items"] if each["to"]] == [("2/0", "signups/1/1000")]
    assert (told["sent"], told["left_out"]) == (1, 2)
    again = await redrive(server, letters=["2/0"])
    assert (again["sent"], "redriven at" in again["items"][0]["left_out"]) == (0, True)
    assert (await redrive(server, letters=["2/0"], again=True))["sent"] == 1
    assert [each.place.offset for each in server.letters.sent] == [0, 0]
    logged = [(e.command, e.user_id, e.command_id, e.outcome) for e in server.audit.entries]
    assert logged[0] == ("redrive", "ann", "2/0", "done")
    assert logged[1][3] == "left_out"


PLAN, EVERY = "$.plan", "$.monitors[0].schedule.every"
WRONG = b'{"user_id":"ann","plan":"gold","monitors":[{"kind":"noop","schedule":{"every":"hourly"}}]}'


async def test_wrong_fields_are_set_in_many_records_before_they_are_sent(server: Api) -> None:
    server.letters.held = [refused(0, value=WRONG), refused(1, value=WRONG), refused(4, value=b"\xc3\x01")]
    half = await redrive(server, code="unknown_plan", set={PLAN: "pro"}, dry_run=True)
    assert (half["sent"], half["left_out"]) == (0, 3)
    assert half["items"][0]["left_out"].startswith(f"it is still wrong: {EVERY}: ")
    assert "cannot be decoded" in half["items"][2]["left_out"]
    assert (server.letters.sent, server.audit.entries) == ([], [])
    mended = {PLAN: "pro", EVERY: "1h", '$["attributes"]': {"city": "Bern"}}
    told = await redrive(server, code="unknown_plan", set=mended, remove=["$.note"])
    assert (told["sent"], told["left_out"]) == (2, 1)
    for letter in server.letters.sent:
        signup = orjson.loads(letter.value or b"")
        assert (signup["plan"], signup["monitors"][0]["schedule"], signup["attributes"]["city"]) == (
            "pro", {"every": "1h"}, "Bern",
        )  # fmt: skip
    assert {each.command for each in server.audit.entries} == {"redrive_edited"}


SIGNUP = {
    "user_id": "ann",
    "plan": "gold",
    "monitors": [{"kind": "http", "config": '{"url":"https://ann.example/"}', "schedule": {"every": "hourly"}}],
}


@pytest.fixture
def registry() -> Iterator[None]:
    registered_schemas.use(own_schemas())
    yield
    registered_schemas.use(None)


@pytest.mark.usefixtures("registry")
async def test_a_record_in_avro_or_confluent_format_is_sent_in_it_again_with_its_fields_mended(server: Api) -> None:
    avro = avro_schemas.encode("signup", SIGNUP)
    confluent = registered_schemas.wrapped("signup", avro)
    server.letters.held = [refused(0, value=avro), refused(1, value=confluent)]
    dry = await redrive(server, letters=["2/0", "2/1"], set={EVERY: "never"}, dry_run=True)
    assert all(each["left_out"].startswith(f"it is still wrong: {EVERY}: ") for each in dry["items"])
    mended = {PLAN: "pro", EVERY: "1h", "$.monitors[0].config.url": "https://bern.example/"}
    assert (await redrive(server, letters=["2/0", "2/1"], set=mended))["sent"] == 2
    first, second = (letter.value or b"" for letter in server.letters.sent)
    assert (first[:10], second[:5]) == (avro[:10], confluent[:5])
    for sent in (first, second):
        signup = decode_signup(sent)
        (monitor,) = signup.monitors
        assert (signup.plan, monitor.schedule) == ("pro", Every(3_600_000))
        assert orjson.loads(monitor.config)["url"] == "https://bern.example/"


@pytest.mark.usefixtures("registry")
async def test_a_field_that_the_schema_of_a_record_does_not_have_is_not_set(server: Api) -> None:
    avro = avro_schemas.encode("signup", SIGNUP)
    values = [avro, registered_schemas.wrapped("signup", avro), b"\x00\x00\x00\x01\x00{}", avro[:-4]]
    server.letters.held = [refused(place, value=value) for place, value in enumerate(values)]
    told = await redrive(server, code="unknown_plan", set={"$.colour": "red"})
    said = [each["left_out"] for each in told["items"]]
    assert all("the schema of its record does not take that" in each for each in said[:2])
    assert all("its record cannot be decoded" in each for each in said[2:])
    assert server.letters.sent == []


async def test_an_edit_names_a_field_that_is_there_and_no_other_user(server: Api) -> None:
    server.letters.held = [refused(0, value=WRONG)]
    for path, value, why in [
        ("$.monitors[1].kind", "http", "has no field"),
        ("$.plan.name", "pro", "has no field"),
        ("$.monitors[1]", {}, "has no field"),
        ("$.user_id", "bob", "the record's key"),
    ]:
        told = await redrive(server, letters=["2/0"], set={path: value})
        assert why in told["items"][0]["left_out"]
    for path in ("plan", "$", "$..plan", "$.a b"):
        body = {"letters": ["2/0"], "set": {path: 1}}
        assert (await server.call("POST", "/v1/dead-letters/redrive", body=body)).status == 422
    assert server.letters.sent == []


async def test_a_redrive_says_which_and_sends_no_more_than_it_may(server: Api) -> None:
    assert (await server.call("POST", "/v1/dead-letters/redrive", body={})).status == 422
    assert (await server.call("POST", "/v1/dead-letters/redrive", body={"letters": ["2"]})).status == 422
    operator = server.token(Role.OPERATOR)
    assert (await server.call("POST", "/v1/dead-letters/redrive", token=operator, body={})).status == 403
    one = letters.redriving(lambda: server.letters, lambda: server.letters, Topics.of(Settings()), "", most=1)
    told = one(RedriveBody(everything=True)).answered
    assert (told.sent, told.truncated) == (1, True)


async def test_a_redrive_whose_request_is_over_keeps_the_next_one_waiting(server: Api) -> None:
    goes_on = threading.Event()
    begun: list[RedriveBody] = []

    def redrive(body: RedriveBody) -> letters.RedriveOutcome:
        begun.append(body)
        assert goes_on.wait(30 * PATIENCE)
        return letters.RedriveOutcome(RedriveView(False, 0, 0, [], [], False), [])

    handlers = letters.Letters(Database(lambda: server.store, server.clock), redrive, lambda *_: None, server.clock)
    call = Call({}, CIMultiDictProxy(CIMultiDict()))
    first = asyncio.create_task(handlers.redrive(call, RedriveBody(code="a")))
    while not begun:
        await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(handlers.redrive(call, RedriveBody(code="b")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (first.cancelled(), [each.code for each in begun]) == (True, ["a"])
    goes_on.set()
    await second
    assert [each.code for each in begun] == ["a", "b"]
