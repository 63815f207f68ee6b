"""Gaps in ticks and results when a worker or an executor joins, stops cleanly, or is killed, and ticks emitted twice.

Two workers (then two executors), with warm standby copies and the default session timeout. The gap is the time in which
a tick that was due came more than 1 s late, of any monitor, to a reader of the topic that is independent of the
product; for executors it is the tick's result. "Back" is a process that is started again at once after SIGKILL, a
worker over its own folder.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

from bench.expectation import Expectation
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.reader import Reading
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.rivals import Subject, the_worker, wait_steady
from bench.scaleout import wait_spread
from bench.target import target
from bench.watching import judge, watch
from everwatch.encoding import codec

INTERVAL_MS = 5_000
LATE_MS = 1_000
STEP_MS = 100
AT_ONCE = 500
GROUP_WITHIN_S = 60.0
SHORT_S, LONG_S = 12.0, 20.0
_SECONDS = "s"
_WITH_STANDBYS = {"EVERWATCH_STANDBY_REPLICAS": "1"}


def measure(plan: Plan) -> Outcome:
    """Workers first, then executors: each joins, stops, is killed and back, is killed and stays down."""
    users = 500 if plan.quick else 2_000
    population = Population((Recurring("probe", INTERVAL_MS),), users)
    with rig() as bench, target() as probed:
        session_s = bench.settings.session_timeout_ms / 1000
        first = bench.start_worker("1", _WITH_STANDBYS)
        bench.wait_on_time()
        subject = the_worker(bench, first)
        subject.sign_up(bench, population, port=probed.port)
        workers = _workers(bench, subject, plan, session_s)
        bench.say("executors")
        executors = [] if plan.quick else _executors(bench, subject, session_s)
        return Outcome([*workers, *executors])


def _workers(bench: Rig, subject: Subject, plan: Plan, session_s: float) -> list[Figure]:
    def start() -> None:
        bench.start_worker("2", _WITH_STANDBYS)

    def again() -> None:
        _kill(bench)
        start()

    def steady(count: int) -> None:
        wait_spread(bench, count)
        wait_steady(bench, subject)

    figures: list[Figure] = []
    steady(1)
    figures += _from_start_to_tick(bench, subject)
    steady(1)
    figures += _ticks(bench, subject, "a worker joins", start, SHORT_S, "<= 2")
    steady(2)
    figures += _ticks(bench, subject, "a worker is killed and back", again, SHORT_S, "<= 3")
    steady(2)
    if not plan.quick:
        figures += _ticks(bench, subject, "a worker stops", partial(_stop, bench), SHORT_S, "<= 2")
        steady(1)
        start()
        steady(2)
        figures += _ticks(bench, subject, "a worker is killed", partial(_kill, bench), LONG_S, f"<= {session_s + 2:g}")
        steady(1)
    return figures


def _executors(bench: Rig, subject: Subject, session_s: float) -> list[Figure]:
    def start(name: str) -> None:
        bench.start_executor(1, AT_ONCE, name)

    def again() -> None:
        _kill(bench)
        start("executor-b")

    def steady(count: int) -> None:
        _wait_executors(bench, count)
        bench.wait_until(lambda: _is_answered(bench), "results come on time", GROUP_WITHIN_S)

    figures: list[Figure] = []
    start("executor-a")
    steady(1)
    figures += _results(bench, subject, "an executor joins", lambda: start("executor-b"), SHORT_S, "<= 2")
    steady(2)
    figures += _results(bench, subject, "an executor stops", partial(_stop, bench), SHORT_S, "<= 2")
    steady(1)
    start("executor-b")
    steady(2)
    # an executor has no name of its own: its successor waits for the session, too
    figures += _results(bench, subject, "an executor is killed and back", again, LONG_S, f"<= {session_s + 2:g}")
    steady(2)
    figures += _results(bench, subject, "an executor is killed", partial(_kill, bench), LONG_S, f"<= {session_s + 2:g}")
    return figures


def _from_start_to_tick(bench: Rig, subject: Subject) -> list[Figure]:
    """The time from the start of the only worker's process, after a clean stop, to its first tick on the topic."""
    _stop(bench)
    before = sum(bench.ends(subject.ticks))
    worker = bench.start_worker("1", _WITH_STANDBYS)
    bench.wait_until(lambda: sum(bench.ends(subject.ticks)) > before, "the first tick", GROUP_WITHIN_S, 0.01)
    seconds = (bench.clock.now_ms() - worker.begun_ms) / 1000
    return _said(bench, Figure("from a worker's start to its first tick", seconds, _SECONDS, "<= 3"))


def _ticks(
    bench: Rig, subject: Subject, what: str, action: Callable[[], None], seconds: float, target: str
) -> list[Figure]:
    """Figures of the ticks while ``action`` is taken."""
    bench.say(what)
    window = watch(bench, subject.ticks, seconds, [], settle_s=2.0, meanwhile=action)
    verdict = judge(window, subject.expected)
    late = late_instants(window.reading, subject.ticks, window.after, window.upto)
    return _said(
        bench,
        Figure(f"{what}: gap of ticks", late * STEP_MS / 1000, _SECONDS, target),
        Figure(f"{what}: worst lateness", verdict.worst / 1000, _SECONDS),
        Figure(f"{what}: ticks emitted twice", verdict.duplicates, "ticks"),
        Figure(f"{what}: ticks missed", verdict.missed, "ticks", "<= 0"),
    )


def late_instants(read: Reading, topic: str, after: int, upto: int) -> int:
    """The number of instants (steps of 100 ms) of which a tick came more than LATE_MS late, the first time it came."""
    first: dict[tuple[int, int], int] = {}
    for arrival, partition, instant, _ in read.arrivals(topic):
        if after < instant <= upto:
            first[partition, instant] = min(arrival, first.get((partition, instant), arrival))
    return len({instant for (_, instant), arrival in first.items() if arrival - instant > LATE_MS})


def _results(
    bench: Rig, subject: Subject, what: str, action: Callable[[], None], seconds: float, target: str
) -> list[Figure]:
    """Figures of the results of ticks while ``action`` is taken."""
    bench.say(what)
    topic = bench.topics.results
    begin = bench.ends(topic)
    window = watch(bench, subject.ticks, seconds, [], settle_s=2.0, meanwhile=action)
    came: Counter[tuple[str, int]] = Counter()
    late: set[int] = set()
    worst = 0
    for _, record in bench.client.records(topic, begin, bench.ends(topic)):
        result = codec.decode_result(bytes(record.value))
        if window.after < result.scheduled_at <= window.upto:
            came[result.user_id, result.scheduled_at] += 1
            behind = record.timestamp - result.scheduled_at
            if came[result.user_id, result.scheduled_at] == 1:
                worst = max(worst, behind)
                if behind > LATE_MS:
                    late.add(result.scheduled_at)
    due = sum(_due(subject.expected, window.after, window.upto))
    return _said(
        bench,
        Figure(f"{what}: gap of results", len(late) * STEP_MS / 1000, _SECONDS, target),
        Figure(f"{what}: worst lateness", worst / 1000, _SECONDS),
        Figure(f"{what}: results twice", sum(count - 1 for count in came.values()), "results"),
        Figure(f"{what}: ticks without a result", due - len(came), "ticks", "<= 0"),
    )


def _said(bench: Rig, *figures: Figure) -> list[Figure]:
    for figure in figures:
        bench.say(f"  {figure.as_line()}")
    return list(figures)


def _due(expected: Expectation, after: int, upto: int) -> list[int]:
    return list(expected.due(after, upto).values())


def _stop(bench: Rig) -> None:
    # it is not looked for while it stops
    bench.workers.pop().stop()


def _kill(bench: Rig) -> None:
    bench.workers.pop().kill()


def _is_answered(bench: Rig) -> bool:
    """Tell whether the newest results are of ticks that were due within the last second."""
    topic = bench.topics.results
    ends = bench.ends(topic)
    newest = [record for _, record in bench.client.records(topic, [max(0, end - 1) for end in ends], ends)]
    now = bench.clock.now_ms()
    return len(newest) == bench.partitions and all(now - record.timestamp < LATE_MS for record in newest)


def _wait_executors(bench: Rig, count: int) -> None:
    group = f"{bench.settings.application}-executors"
    bench.wait_until(
        lambda: _is_shared(bench.claims(group, bench.topics.ticks), count, bench.partitions),
        f"{count} executors claim all ticks",
        GROUP_WITHIN_S,
    )


def _is_shared(claims: list[int], count: int, partitions: int) -> bool:
    return len(claims) == count and sum(claims) == partitions
