"""The HTTP API over a broker, a worker and a sink: pings, batches, lists, writes that are read, edits, streams, a job.

The client runs beside it on the same cores, so what a core of the API does is measured by its CPU time. Lists are of a
generated database, on PostgreSQL and on SQLite (``--only lists``; ``--folder`` keeps both). Their peers are the plain
statements that one writes first, without HTTP. The peer of pings is a bare aiohttp handler that produces to Kafka:
Healthchecks' own handler is not on the package index, so this is the bound that any handler in Python has, and not
another product.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import orjson
import uvloop

from bench.api_jobs import measure_jobs
from bench.api_lists import measure_lists
from bench.api_process import TOKEN, ApiProcess, call, cpu_of_each, start_api, start_sink
from bench.api_promises import edit_at_once, read_what_was_written
from bench.errors import Unmeasured
from bench.http_load import Answers, load, quantile_ms, request_of
from bench.peers.process import PeerError, running
from bench.plan import Plan
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from everwatch.core.clock import SystemClock
from everwatch.processes.open_files import allow_many_files

MIB = 2**20
_AT_ONCE, _PINGERS, _CLIENTS = 64, 1_000, 4
_PROMISED = 5_000
"""Pings a second, at each of which the latency is measured."""
_WARM_S = 5.0
"""A broker and an API that have just started compile and connect for some seconds."""
_NDJSON = "application/x-ndjson"


def measure(plan: Plan) -> Outcome:
    """Measure all parts; ``--quick`` smaller ones."""
    allow_many_files()
    figures: list[Figure] = []
    peers: list[Peer] = []
    if plan.takes("load"):
        _measure_load(plan, figures, peers)
    if plan.takes("lists"):
        measure_lists(plan, figures, peers)
    # a lease of 30 s has to be over: not in a quick run of all
    if plan.only == "jobs" or (plan.takes("jobs") and not plan.quick):
        figures += measure_jobs(plan)
    return Outcome(figures, peers)


def _measure_load(plan: Plan, figures: list[Figure], peers: list[Peer]) -> None:
    with rig() as bench:
        _start_takers(bench)
        first = start_api(bench, "api-1")
        requests = _ping_requests(first, plan)
        # a ping waits for Kafka alone, and so does one of the peer: what takes pings in runs again behind them
        for taker in [each for each in bench.workers if each is not first.worker]:
            bench.stop_worker(taker)
        figures += _told(bench, _pings(bench, first, requests, plan))
        if plan.peers:
            peers.append(_bare(bench, plan))
            _told(bench, peers[-1].figures)
        _start_takers(bench)
        bench.wait_taken_in(bench.topics.signals)
        figures += _told(bench, _batches(bench, first, plan))
        figures += _told(bench, _streams(bench, first, plan))
        others = [start_api(bench, f"api-{number}") for number in range(2, 5)]
        figures += _told(bench, _promises(bench, [first, *others], plan))


def _start_takers(bench: Rig) -> None:
    bench.start_worker("1")
    start_sink(bench)
    bench.wait_on_time()


def _told(bench: Rig, figures: Sequence[Figure]) -> Sequence[Figure]:
    """Tell figures as soon as they are known: the parts take minutes."""
    for figure in figures:
        bench.say(figure.as_line())
    return figures


def _until(requests: Callable[[], bytes], seconds: float) -> Callable[[], bytes | None]:
    clock = SystemClock()
    end_s = clock.monotonic_s() + seconds
    return lambda: requests() if clock.monotonic_s() < end_s else None


def _check(answers: Answers, wanted: int, what: str) -> None:
    if set(answers.statuses) != {wanted}:
        raise Unmeasured(f"{what} were answered with {dict(answers.statuses)}, not all with {wanted}.")


# --- pings ------------------------------------------------------------------------------------------------------------


def _ping_requests(api: ApiProcess, plan: Plan) -> list[bytes]:
    """Register users with a heartbeat monitor each, and return a ping of each."""
    users = [f"pinger-{number}" for number in range(20 if plan.quick else _PINGERS)]
    _sign_up(api, users)
    return [request_of("GET", f"{api.url}/ping/{_ping_key(api, user)}/job") for user in users]


def _pings(bench: Rig, api: ApiProcess, requests: list[bytes], plan: Plan) -> list[Figure]:
    bench.say("pings, while worker and sink are stopped")
    before, used = sum(bench.ends(bench.topics.signals)), cpu_of_each(bench)
    figures, answered = _hammered(api.url, requests, api.worker.cpu_s, plan)
    shares = _shares(bench, used, "a ping", answered)
    kept = sum(bench.ends(bench.topics.signals)) - before
    return [
        *figures,
        *shares,
        Figure("pings acknowledged that are not on the topic", max(0, answered - kept), "pings", "<= 0"),
        Figure("resident after them", api.worker.resident_mib(), "MiB"),
    ]


def _hammered(url: str, requests: list[bytes], cpu_s: Callable[[], float], plan: Plan) -> tuple[list[Figure], int]:
    """Figures of pings as fast as they are answered; for the latency, at half of that rate and at the promised one."""
    seconds = 3.0 if plan.quick else 10.0
    turn = count()

    def next_one() -> bytes:
        return requests[next(turn) % len(requests)]

    uvloop.run(load(url, _until(next_one, 1.0 if plan.quick else _WARM_S), _AT_ONCE))
    turn = count()
    before = cpu_s()
    clock = SystemClock()
    began_s = clock.monotonic_s()
    answers = uvloop.run(load(url, _until(next_one, seconds), _AT_ONCE))
    lasted_s, used_s = clock.monotonic_s() - began_s, cpu_s() - before
    _check(answers, 200, "Pings")
    pings = len(answers.took_s)
    rate = pings / lasted_s
    at_half = uvloop.run(load(url, _until(next_one, seconds), _AT_ONCE, rate / 2))
    _check(at_half, 200, "Pings")
    promised = uvloop.run(load(url, _until(next_one, seconds), _AT_ONCE, _PROMISED))
    _check(promised, 200, "Pings")
    return [
        Figure("pings", rate, "a second"),
        Figure("pings for a second of CPU of the process", pings / used_s, "pings", ">= 5000"),
        Figure(f"a ping of {_AT_ONCE} at once", answers.took_ms(0.5), "ms p50"),
        Figure(f"a ping of {_AT_ONCE} at once", answers.took_ms(0.99), "ms p99"),
        Figure("a ping at half of that rate, from when it was due", at_half.took_ms(0.5), "ms p50"),
        Figure("a ping at half of that rate, from when it was due", at_half.took_ms(0.99), "ms p99"),
        Figure(f"a ping at {_PROMISED:,} a second, from when it was due", promised.took_ms(0.5), "ms p50"),
        Figure(f"a ping at {_PROMISED:,} a second, from when it was due", promised.took_ms(0.99), "ms p99", "<= 50"),
    ], pings + len(at_half.took_s) + len(promised.took_s)


def _shares(bench: Rig, before: dict[str, float], what: str, items: int) -> list[Figure]:
    """Figures of the CPU time of each process for an item: they share the cores, and the largest bounds the rate."""
    used = {name: now - before.get(name, 0.0) for name, now in cpu_of_each(bench).items()}
    return [Figure(f"{what}: CPU of {name}", 1e6 * spent / items, "µs") for name, spent in used.items()]


def _sign_up(api: ApiProcess, users: Sequence[str]) -> None:
    """Register users with a heartbeat monitor ``job``: what pings a monitor that exists nowhere is refused."""
    monitor = {"kind": "heartbeat", "config": {"period": "1d"}}
    made: list[dict[str, object]] = [{"command": "signup", "user_id": user} for user in users]
    made += [{"command": "put", "user_id": user, "monitor_id": "job", "monitor": monitor} for user in users]
    body = b"\n".join(map(orjson.dumps, made))
    request = request_of("POST", f"{api.url}/v1/batch", TOKEN, body, Content_Type=_NDJSON, Prefer="wait=30")
    once = iter([request])
    _check(uvloop.run(load(api.url, lambda: next(once, None), 1)), 207, "Signups")


def _ping_key(api: ApiProcess, user: str) -> str:
    return str(call(api, "GET", f"/v1/users/{user}/ping-key")["key"])


def _bare(bench: Rig, plan: Plan) -> Peer:
    name = "a bare aiohttp handler that produces to Kafka"
    bench.say(name)
    topic = bench.new_topic("bare-pings")
    command = [sys.executable, "-m", "bench.peers.bare_ping", bench.bootstrap_servers, topic]
    log = bench.folder / "bare.log"
    variables = {"PYTHONPATH": str(Path(__file__).parents[1]), "EVERWATCH_DATA_DIR": str(bench.folder)}
    try:
        with running(name, topic, command, log, "API: ", variables) as peer:
            url = re.findall(r"API: (\S+)", log.read_text())[0]
            requests = [request_of("GET", f"{url}/ping/user-{number}/job") for number in range(_PINGERS)]
            return Peer(name, _hammered(url, requests, peer.cpu_s, plan)[0])
    except PeerError as error:
        return Peer(name, problem=str(error))


# --- batches ----------------------------------------------------------------------------------------------------------


def _batches(bench: Rig, api: ApiProcess, plan: Plan) -> list[Figure]:
    bench.say("batches")
    lines = 1_000 if plan.quick else 10_000
    alone = range(2 if plan.quick else 3)
    together = range(len(alone), len(alone) + 2 * _CLIENTS)
    monitor = {"kind": "noop", "schedule": {"every": "1d"}}

    def signups(batch: int) -> Iterator[dict[str, object]]:
        for number in range(lines):
            yield {"command": "signup", "user_id": f"batch-{batch}-{number}"}

    def puts(batch: int) -> Iterator[dict[str, object]]:
        for number in range(lines):
            user = f"batch-{batch}-{number}"
            yield {"command": "put", "user_id": user, "monitor_id": "m", "monitor": monitor}

    figures = []
    for what, made, prefer in (
        ("batches of signups, each carried out by a worker", signups, "wait=30"),
        ("batches of new monitors, each carried out by a worker", puts, "wait=30"),
        ("batches of changes, acknowledged by Kafka alone", puts, "respond-async"),
    ):
        for clients, batches in ((1, alone), (_CLIENTS, together)):
            requests = [
                request_of(
                    "POST",
                    f"{api.url}/v1/batch",
                    TOKEN,
                    b"\n".join(map(orjson.dumps, made(batch))),
                    Content_Type=_NDJSON,
                    Prefer=prefer,
                )
                for batch in batches
            ]
            sent = iter(requests)
            of_each = cpu_of_each(bench)
            before, began_s = api.worker.cpu_s(), SystemClock().monotonic_s()
            answers = uvloop.run(load(api.url, lambda sent=sent: next(sent, None), clients))  # type: ignore[misc]
            lasted_s, used_s = SystemClock().monotonic_s() - began_s, api.worker.cpu_s() - before
            _check(answers, 207, what)
            commands = lines * len(requests)
            named = f"{what}, {clients} client{'s' * (clients > 1)}"
            figures += [
                Figure(named, commands / lasted_s, "commands/s", ">= 10000"),
                Figure(f"{named}: for a second of CPU of the process", commands / used_s, "commands"),
                *_shares(bench, of_each, named, commands),
            ]
    return figures


# --- idle streams -----------------------------------------------------------------------------------------------------


def _streams(bench: Rig, api: ApiProcess, plan: Plan) -> list[Figure]:
    clients = 500 if plan.quick else 10_000
    bench.say(f"{clients:,} idle streams")
    before = api.worker.resident_mib()

    async def watch() -> tuple[float, float]:
        writers: list[asyncio.StreamWriter] = []
        request = request_of("GET", f"{api.url}/v1/live?user=nobody", TOKEN)
        host, port = api.url.removeprefix("http://").split(":")
        for _ in range(clients):
            reader, writer = await asyncio.open_connection(host, int(port), limit=4_096)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise Unmeasured(f"A stream was refused after {len(writers):,} others: {head[:200]!r}")
            writers.append(writer)
        after, cpu_s = api.worker.resident_mib(), api.worker.cpu_s()
        await asyncio.sleep(10)
        used_s = api.worker.cpu_s() - cpu_s
        for writer in writers:
            writer.close()
        return after, used_s / 10

    after, cores = asyncio.run(watch())
    return [
        Figure("idle streams (SSE)", clients, "clients"),
        Figure("memory of an idle stream", (after - before) * 1024 / clients, "KiB"),
        Figure("resident with them", after, "MiB"),
        Figure("CPU with them", cores, "cores"),
    ]


# --- promises ---------------------------------------------------------------------------------------------------------


def _promises(bench: Rig, apis: list[ApiProcess], plan: Plan) -> list[Figure]:
    writes, edits = (200, 40) if plan.quick else (10_000, 1_000)
    bench.say(f"{writes:,} writes, each read through another of {len(apis)} processes, of which one is killed")
    # written and read through different ones; the last is killed half-way
    victim = apis[-1].worker
    bench.workers.remove(victim)
    urls = [each.url for each in apis]
    seen = asyncio.run(read_what_was_written(urls, TOKEN, writes, victim.kill))
    figures = [
        Figure(f"of {writes:,} writes, seen by a read through another process", seen.right, "reads", f">= {writes}"),
        Figure("writes and reads together", writes / seen.took_s, "a second"),
        Figure("a read that waits for its write", quantile_ms(seen.reads_s, 0.99), "ms p99"),
    ]
    _told(bench, figures)
    bench.say(f"{edits:,} edits at once, with If-Match")
    kept = asyncio.run(edit_at_once(urls[:-1], TOKEN, edits))
    return [
        *figures,
        Figure(f"of {edits:,} edits at once, kept", kept.right, "edits", f">= {edits}"),
        Figure("edits that were refused (412) and made again", kept.refused, "edits"),
        Figure("edits", edits / kept.took_s, "a second"),
    ]
