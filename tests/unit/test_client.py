"""The Python client: against the API's own server, and against one that fails as it is told to.

All in one file: one client, against two servers.
"""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from support.api import START, Api, api, listening
from support.waiting import PATIENCE

from everwatch.api.bodies import SignalBody, TaskBody, UserBody, UserChange
from everwatch.api.import_views import ImportStopped, ImportSummary, RefusedImportRow
from everwatch.api.permissions import Role
from everwatch.api.queries import AllMonitorsQuery
from everwatch.client import ApiError, AsyncClient, Client, LiveEvent
from everwatch.client.positions import Positions
from everwatch.core.errors import BrokerUnavailable, SettingsError
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.encoding.input_models import MonitorInput
from everwatch.kafka.consumed_record import Record
from everwatch.model import CommandOutcome, State, Transition

SITE = {"kind": "noop", "schedule": {"every": "1m"}}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    # a connection that is gone is noticed at the next beat
    async with api(beat_s=0.05) as running:
        yield running


@pytest.fixture
async def client(server: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, server.texts[Role.ADMIN]) as made:
        yield made


class Pauses:
    """Takes the place of waiting, and keeps how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


Script = Callable[[web.Request], Any]


class Scripted:
    """A server that gives the next of its answers to each request: a response, or None to cut the connection."""

    def __init__(self, *answers: web.StreamResponse | None) -> None:
        self.answers = list(answers)
        self.requests: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer


@asynccontextmanager
async def scripted(*answers: web.StreamResponse | None) -> AsyncIterator[Scripted]:
    running = Scripted(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", running.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = listening()
    running.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    await web.SockSite(runner, sock).start()
    try:
        yield running
    finally:
        await runner.cleanup()


def problem(status: int, code: str, **headers: str) -> web.Response:
    document = {"type": "about:blank", "title": "", "status": status, "detail": "No.", "code": code, "request_id": "r"}
    return web.json_response(
        document, status=status, content_type="application/problem+json", headers={"X-Request-Id": "r", **headers}
    )


OUTCOME = {"command_id": "c", "command": "pause", "user_id": "ann", "monitor_id": "m", "answer": "done"}


async def test_a_user_with_monitors_and_tasks_lives_through_the_client(client: AsyncClient) -> None:
    made = await client.put_user("ann/1", UserBody(plan="gold", attributes={"city": "Bern"}))
    assert (made.answer, made.user_id) == (CommandOutcome.REGISTERED, "ann/1")
    put = await client.put_monitor("ann/1", "site", SITE)
    assert (put.answer, put.version) == (CommandOutcome.DONE, 1)
    with pytest.raises(ApiError) as refused:
        await client.put_monitor("ann/1", "site", MonitorInput(kind="noop"))
    assert (refused.value.status, refused.value.code) == (412, "version_mismatch")
    assert (await client.put_monitor("ann/1", "site", SITE | {"name": "shop"}, version=1)).version == 2
    assert (await client.change_monitor("ann/1", "site", {"schedule": {"every": "5m"}})).version == 3
    seen = await client.monitor("ann/1", "site")
    assert (seen.spec.name, seen.spec.schedule.every, seen.state) == ("shop", "5m", State.NEW)
    assert (await client.pause_monitor("ann/1", "site")).answer is CommandOutcome.DONE
    assert (await client.monitor("ann/1", "site")).state is State.PAUSED
    assert len(await client.next_runs("ann/1", "site", 2)) == 0
    assert (await client.resume_monitor("ann/1", "site")).answer is CommandOutcome.DONE
    assert len(await client.next_runs("ann/1", "site", 2)) == 2
    assert (await client.explain("ann/1", "site")).schedule_text == "every 5m"
    task = await client.create_task("ann/1", TaskBody("noop", "remind", in_="90m"))
    assert (task.answer, task.monitor_id) == (CommandOutcome.DONE, "remind")
    assert (await client.task("ann/1", "remind")).due_at == START + 90 * 60_000
    gone = await client.delete_monitor("ann/1", "site")
    assert (gone.answer, gone.command, gone.monitor_id) == (CommandOutcome.DONE, "delete", "site")
    assert [each.monitor_id async for each in client.monitors(AllMonitorsQuery(user="ann/1"))] == ["remind"]
    assert (await client.change_user("ann/1", UserChange(plan="free"))).answer is CommandOutcome.DONE
    assert (await client.delete_user("ann/1")).answer is CommandOutcome.DONE
    with pytest.raises(ApiError, match="not_found"):
        await client.user("ann/1")


async def test_a_refusal_says_code_path_and_reason(client: AsyncClient) -> None:
    with pytest.raises(ApiError) as refused:
        await client.put_monitor("ann", "m", {"kind": "noop", "schedule": {"every": "1ms"}})
    error = refused.value
    assert (error.status, error.code, error.path) == (422, "invalid", "$.schedule.every")
    assert error.reason
    assert error.path in str(error)
    assert error.request_id


async def test_iterating_goes_through_all_pages(server: Api, client: AsyncClient) -> None:
    for number in range(5):
        await client.put_user(f"u-{number}", UserBody(monitors=[MonitorInput("m", kind="noop")]))
    query = AllMonitorsQuery(limit=2, kind="noop")
    assert [each.user_id async for each in client.monitors(query)] == [f"u-{number}" for number in range(5)]
    assert [each.user_id async for each in client.users()] == [f"u-{number}" for number in range(5)]


async def test_reads_wait_for_what_this_client_has_written(server: Api, client: AsyncClient) -> None:
    await client.put_user("ann")
    await client.put_user("bob")
    assert [each.user_id async for each in client.users()] == ["ann", "bob"]
    assert server.waited_for == ["0@1"]
    written = client.position
    async with AsyncClient(server.url, server.texts[Role.VIEWER], after=written) as other:
        await other.user("ann")
        await other.user("ann")
    # ann's own write of before, by the first client's process, is waited for by the server itself
    assert server.waited_for.count(written) == 2


def test_positions_are_waited_for_until_a_read_has_passed_them() -> None:
    positions = Positions()
    positions.note("ann", "3@10")
    positions.note("bob", "5@7")
    positions.note("cid", "3@12")
    assert (positions.wanted("ann"), positions.wanted("eve")) == ("3@10", "")
    assert positions.wanted("") == "3@12,5@7"
    positions.passed("ann", "3@10")
    assert (positions.wanted("ann"), positions.wanted("")) == ("", "3@12,5@7")
    positions.passed("", "3@12,5@7")
    assert positions.wanted("") == ""


async def test_a_command_is_sent_again_with_its_key_and_reads_as_often_as_they_fail() -> None:
    pauses = Pauses()
    async with (
        scripted(None, problem(503, "kafka_unavailable"), web.json_response(OUTCOME)) as server,
        AsyncClient(server.url, "t", sleep=pauses) as client,
    ):
        assert (await client.pause_monitor("ann", "m")).answer is CommandOutcome.DONE
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert (len(server.requests), len(keys), len(pauses.seconds)) == (3, 1, 2)
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer t"}


async def test_the_server_says_when_to_come_back() -> None:
    pauses = Pauses()
    limited = problem(429, "rate_limited", **{"Retry-After": "7"})
    async with (
        scripted(limited, web.json_response({"accepted": 1})) as server,
        AsyncClient(server.url, sleep=pauses) as client,
    ):
        # a signal that was not taken may be sent again
        assert await client.signal(SignalBody("ann", "m")) == 1
    assert len(pauses.seconds) == 1
    assert pauses.seconds[0] >= 7


@pytest.mark.parametrize("failure", [None, problem(503, "kafka_unavailable"), problem(500, "unhandled")])
async def test_what_may_have_been_done_and_is_not_safe_to_repeat_is_sent_once(failure: web.Response | None) -> None:
    async with scripted(failure) as server, AsyncClient(server.url, sleep=Pauses()) as client:
        with pytest.raises(ApiError):
            await client.signal(SignalBody("ann", "m"))
    assert len(server.requests) == 1


async def test_a_signal_that_says_when_it_was_is_sent_again() -> None:
    async with (
        scripted(None, web.json_response({"accepted": 1})) as server,
        AsyncClient(server.url, sleep=Pauses()) as client,
    ):
        assert await client.signal(SignalBody("ann", "m", START)) == 1


async def test_patience_has_an_end_and_the_last_error_is_told() -> None:
    async with (
        scripted(*(problem(503, "database_unavailable", **{"Retry-After": "20"}) for _ in range(9))) as server,
        AsyncClient(server.url, sleep=Pauses(), patience_s=19) as client,
    ):
        with pytest.raises(ApiError) as given_up:
            await client.counts()
    assert (len(server.requests), given_up.value.code, given_up.value.exit_code) == (1, "database_unavailable", 6)


async def test_nothing_that_listens_is_said_in_one_sentence() -> None:
    sock = listening()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()
    async with AsyncClient(url, patience_s=0) as client:
        with pytest.raises(ApiError, match=r"cannot be reached \(.+\): is it running there\?") as away:
            await client.counts()
    assert (away.value.status, away.value.exit_code) == (0, 3)
    with pytest.raises(SettingsError, match="no address"):
        AsyncClient("localhost:8470")


async def test_something_else_at_the_address_is_told_and_gets_no_token_of_another() -> None:
    elsewhere = web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})
    async with (
        scripted(elsewhere, web.json_response([]), web.Response(text="<html>")) as server,
        AsyncClient(server.url, "t") as client,
    ):
        for _ in range(3):
            with pytest.raises(ApiError):
                await client.counts()


async def test_a_batch_gives_what_became_of_each_line(server: Api, client: AsyncClient) -> None:
    lines = [{"command": "signup", "user_id": "ann"}, {"command": "pause", "user_id": "ann", "monitor_id": "none"}]
    done, refused = await client.batch(lines)
    assert done.status == 200
    assert done.outcome is not None
    assert done.outcome.answer is CommandOutcome.REGISTERED
    assert (refused.status, refused.code) == (404, "not_found")
    assert [each.user_id async for each in client.users()] == ["ann"]
    assert server.waited_for == ["0@0"]


async def test_the_outcome_of_a_command_that_nobody_answered_is_asked_for_later(
    server: Api, client: AsyncClient
) -> None:
    server.worker.silent = True
    kept = await client.put_user("ann", command_id="c-1")
    assert (kept.answer, kept.command_id) == (None, "c-1")
    assert await client.outcome("ann", "c-1") is None
    server.worker.silent = False
    await client.put_user("ann", command_id="c-1")
    told = await client.outcome("ann", "c-1")
    assert told is not None
    assert told.answer is CommandOutcome.REGISTERED


TRANSITION = Transition("ann", "m-0", START, State.NEW, State.UP, "", 1)


def changed(offset: int) -> Record:
    transition = msgspec.structs.replace(TRANSITION, monitor_id=f"m-{offset}")
    value = codec.encode_transition(transition, OutputFormat.AVRO)
    return Record("transitions", 0, offset, START, b"ann", value)


async def test_live_events_go_on_where_a_stream_broke(server: Api, client: AsyncClient) -> None:
    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(30 * PATIENCE):
            while not is_so():
                await asyncio.sleep(0.01)

    events = client.live("ann", only="transition")
    first = asyncio.ensure_future(anext(events))
    await until(lambda: server.taker is not None)
    server.taker([changed(0)])
    assert monitor_of(await first) == "m-0"
    # the connection breaks, and two events come before the next one is asked for
    for each in server.server.connections:
        each.transport.abort()  # type: ignore[attr-defined]
    await until(lambda: server.taker is None)
    server.held += [changed(0), changed(1), changed(2)]
    server.ends = {("transitions", 0): 3, ("results", 0): 0}
    assert [monitor_of(await anext(events)) for _ in range(2)] == ["m-1", "m-2"]
    server.taker([changed(3)])
    assert monitor_of(await anext(events)) == "m-3"
    await events.aclose()


async def test_an_event_that_a_break_cut_short_comes_whole_with_the_next_stream() -> None:
    whole = b"id: 1\nevent: transition\ndata: " + msgspec.json.encode(TRANSITION) + b"\n\n"
    cut, rest = (web.Response(body=body, content_type="text/event-stream") for body in (whole[:-20], whole))
    async with scripted(cut, rest) as server, AsyncClient(server.url, sleep=Pauses()) as client:
        assert await anext(client.live()) == LiveEvent("transition", transition=TRANSITION)


def monitor_of(event: LiveEvent) -> str:
    assert event.transition is not None, event
    return event.transition.monitor_id


async def test_the_blocking_client_does_the_same(server: Api) -> None:
    def work() -> list[str]:
        with Client(server.url, server.texts[Role.ADMIN]) as client:
            client.put_user("ann")
            client.put_monitor("ann", "a", SITE)
            client.put_monitor("ann", "b", SITE)
            with pytest.raises(ApiError):
                client.monitor("ann", "c")
            found = [each.monitor_id for each in client.monitors(AllMonitorsQuery(limit=1))]
        client.close()
        return found

    assert await asyncio.to_thread(work) == ["a", "b"]


async def test_rows_of_a_file_are_imported_while_it_is_sent(server: Api, client: AsyncClient) -> None:
    async def file() -> AsyncIterator[bytes]:
        for user in ("ann", "", "bob"):
            yield b'{"user_id":"%b"}\n' % user.encode()

    [refused, last] = [each async for each in client.import_rows(file())]
    assert isinstance(refused, RefusedImportRow)
    assert (refused.line, last) == (2, ImportSummary(False, 3, 2, 0, 1))
    assert [each.user_id async for each in client.users()] == ["ann", "bob"]
    server.worker.failure = BrokerUnavailable("no broker")
    [stopped] = [each async for each in client.import_rows(b'{"user_id":"eve"}\n')]
    assert isinstance(stopped, ImportStopped)
    assert (stopped.stopped_at, stopped.code) == (1, "kafka_unavailable")
    with pytest.raises(ApiError):
        await anext(client.import_rows(b"id,city\n"))


async def test_the_blocking_client_gives_events_as_they_come(server: Api) -> None:
    def work() -> list[str]:
        with Client(server.url, server.texts[Role.ADMIN]) as client:
            events = client.live("ann", only="transition")
            return [monitor_of(next(events)) for _ in range(2)]

    working = asyncio.create_task(asyncio.to_thread(work))
    async with asyncio.timeout(30 * PATIENCE):
        while server.taker is None:
            await asyncio.sleep(0.01)
        server.taker([changed(0), changed(1)])
        assert await working == ["m-0", "m-1"]
        # what is not read to its end is closed
        while server.live.clients:
            await asyncio.sleep(0.01)


def test_the_blocking_client_has_every_method_and_its_description() -> None:
    names = {name for name, _ in inspect.getmembers(AsyncClient) if not name.startswith("_")}
    assert names == {name for name, _ in inspect.getmembers(Client) if not name.startswith("_")}
    for name in names - {"position", "close"}:
        assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__


def test_the_client_takes_no_kafka_and_no_database() -> None:
    heavy = "{'faust', 'confluent_kafka', 'aiokafka', 'sqlalchemy', 'alembic', 'pycurl'}"
    program = f"import sys, everwatch.client; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


async def test_an_answer_of_a_later_version_is_an_error_of_the_client() -> None:
    line = web.Response(body=b'{"status": "well"}\n', status=207)
    event = web.Response(body=b'event: transition\ndata: {"user_id": 1}\n\n', content_type="text/event-stream")
    async with scripted(line, event) as server, AsyncClient(server.url) as client:
        with pytest.raises(ApiError) as refused:
            await client.batch([{"command": "signup", "user_id": "ann"}])
        assert refused.value.code == "unknown_answer"
        with pytest.raises(ApiError) as refused:
            await anext(client.live())
        assert (refused.value.code, len(server.requests)) == ("unknown_answer", 2)


async def test_of_two_clients_that_saw_a_user_only_the_first_changes_it(server: Api, client: AsyncClient) -> None:
    await client.put_user("ann", if_tag="")
    with pytest.raises(ApiError) as refused:
        await client.put_user("ann", if_tag="")
    assert (refused.value.status, refused.value.code) == (412, "version_mismatch")
    seen = await client.tagged_user("ann")
    assert seen.user.user_id == "ann"
    await client.change_user("ann", UserChange(attributes={"city": "Bern"}), if_tag=seen.tag)
    for late in (
        client.change_user("ann", UserChange(attributes={"city": "Thun"}), if_tag=seen.tag),
        client.put_user("ann", if_tag=seen.tag),
        client.put_user("bob", if_tag="*"),
    ):
        with pytest.raises(ApiError) as refused:
            await late
        assert refused.value.code == "version_mismatch"
    held = server.store.user("ann")
    assert held is not None
    assert held.attributes == {"city": "Bern"}
