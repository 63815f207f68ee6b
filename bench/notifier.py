"""The notifier: rates of its steps, messages in outages, lateness in a burst, and messages lost by SIGKILLs.

Rates are of one process over SQLite, in CPU seconds of that process: records are made before the clock starts, and
webhooks go to a receiver in another process. The outages (100,000 users at one target; an executor that is cut off) run
the real steps over a real database, with a clock that is set and receivers in this process. The burst and the SIGKILLs
are of a real ``everwatch notifier`` that reads from a broker.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import uvloop

from bench.errors import Unmeasured
from bench.notifier_growth import growth
from bench.notifying import (
    AT_ONCE,
    MINUTE_MS,
    PATIENCE_S,
    START,
    USERS_ROUTE,
    Changes,
    CountingReceivers,
    Notifying,
    Users,
    changes,
)
from bench.plan import Plan
from bench.producing import publishing
from bench.receiver import Receiver, receiver
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.worker import Worker
from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.errors import StoreError
from everwatch.core.process_memory import expect_batches
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver
from everwatch.notifier.senders.over_http import HttpSender
from everwatch.notifier.storage import open_existing
from everwatch.store.partition import Partition

GROUP_WAIT_S = 1
_LOCAL = Guard((ip_network("127.0.0.0/8"),))
OPERATORS_ROUTE = '[[operators]]\nname = "ops"\nwebhook = { url = "http://127.0.0.1:9/ops" }\n'


def measure(plan: Plan) -> Outcome:
    """Measure the steps, how they grow, the outages, a burst and SIGKILLs."""
    quick = plan.quick
    figures: list[Figure] = []
    # as the notifier's process does
    expect_batches()
    if plan.takes("steps"):
        figures += uvloop.run(_steps(5_000 if quick else 50_000))
    if plan.takes("growth"):
        figures += uvloop.run(growth((2_000, 10_000) if quick else (2_000, 10_000, 50_000, 200_000)))
    if plan.takes("outages"):
        figures += uvloop.run(_one_target(plan.users or (5_000 if quick else 100_000)))
        figures += uvloop.run(_cut_off(500 if quick else 5_000))
    if plan.takes("burst") or plan.takes("kills"):
        figures += _with_broker(plan)
    return Outcome(figures)


def _with_broker(plan: Plan) -> list[Figure]:
    quick, figures = plan.quick, []
    with receiver() as taking, rig(partitions=4) as made:
        if plan.takes("burst"):
            figures += _burst(made, taking, seconds=5 if quick else 60, a_second=500 if quick else 3_334, monitors=10)
        if plan.takes("kills"):
            figures += _killed(made, taking, kills=3 if quick else 100)
    return figures


async def _steps(users: int) -> list[Figure]:
    """Rate of each step by itself, per second of CPU; of sending also to addresses that users choose."""
    took_s = await _step_times(users, "")
    own_s = await _step_times(users, "{{user.id}}")
    return [
        Figure("transitions taken in", users / took_s[0], "per CPU s", ">= 20000"),
        Figure("transitions judged", users / took_s[1], "per CPU s"),
        Figure("messages composed", users / took_s[2], "per CPU s"),
        Figure("webhooks sent to an address of the rules", users / took_s[3], "per CPU s", ">= 2000"),
        Figure("webhooks sent, each over a connection of its own", users / own_s[3], "per CPU s", ">= 2000"),
        Figure("transition to webhook, all steps", users / sum(took_s), "per CPU s"),
    ]


async def _step_times(users: int, path: str) -> list[float]:
    """Return the CPU seconds of each step for this number of users.

    ``path``: of the webhook's URL. A path with a placeholder stands for an address that users choose.
    """
    with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder, receiver() as taking:
        clock = SystemClock()
        resolver = Resolver(clock)
        client = HttpClient(clock, _LOCAL, resolver, Egress(), kept_each=AT_ONCE.per_lane)
        rules = '[defaults]\ngroup_wait = "0s"\ngroup_interval = "0s"\n' + USERS_ROUTE.format(url=taking.url + path)
        notifying = Notifying(Path(folder), rules, HttpSender(clock, client, client), clock)
        notifying.take(notifying.users(range(users)))
        downs = notifying.records(changes(range(users), "up", "down", clock.now_ms()))
        took = [
            _cpu_of(lambda: notifying.take(downs)),
            _cpu_of(notifying.judge),
            _cpu_of(notifying.compose),
        ]
        began_s = time.process_time()
        await notifying.send(lambda: taking.count >= users)
        sending_s = time.process_time() - began_s
        sent = taking.count
        notifying.close()
        await client.close()
        await resolver.close()
    if sent != users:
        raise Unmeasured(f"The receiver got {sent} of {users} webhooks.")
    return [*took, sending_s]


async def _one_target(users: int) -> list[Figure]:
    """All users at one target, which goes down and recovers."""
    counted, clock = CountingReceivers(), SettableClock(START)
    rules = USERS_ROUTE.format(url="http://127.0.0.1:9/") + OPERATORS_ROUTE
    with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder:
        notifying = Notifying(Path(folder), rules, counted, clock)
        notifying.take(notifying.users(range(users)))
        began_s = time.process_time()
        step_ms = 30_000 / users
        notifying.take(notifying.records(changes(range(users), "up", "down", START, step_ms, target="shop.example")))
        await notifying.later(0)
        await notifying.later(30_000)
        first = counted.users
        await notifying.later(10_000)
        paced = (counted.users - first) / 10
        back = START + 5 * MINUTE_MS
        notifying.take(notifying.records(changes(range(users), "down", "up", back, step_ms, target="shop.example")))
        for _ in range(20 + users // 1_000):
            await notifying.later(30_000)
        cpu_s = time.process_time() - began_s
        notifying.close()
    who = f"{users:,} users at one target"
    return [
        Figure(f"{who}: messages to operators", counted.operators, "down and up", "<= 2"),
        Figure(f"{who}: messages to users, while it is down", paced, "a second", "<= 51"),
        Figure(f"{who}: messages to users, in all", counted.users, "messages"),
        Figure(f"{who}: CPU", cpu_s / users * 1e6, "µs a user"),
    ]


async def _cut_off(users: int) -> list[Figure]:
    """An executor loses all its targets for four minutes."""
    counted, clock = CountingReceivers(), SettableClock(START)
    rules = USERS_ROUTE.format(url="http://127.0.0.1:9/") + OPERATORS_ROUTE
    with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder:
        notifying = Notifying(Path(folder), rules, counted, clock)
        notifying.take(notifying.users(range(users)))
        # as an executor says it: more are out of reach with each that is tried, within a minute
        lost = [
            each
            for n in range(users)
            for each in changes(
                range(n, n + 1), "up", "down", START + n * MINUTE_MS // users, executor="north",
                unreached=100 * n // users,
            )
        ]  # fmt: skip
        for begin in range(0, users, max(1, users // 12)):
            notifying.take(notifying.records(iter(lost[begin : begin + max(1, users // 12)])))
            await notifying.later(5_000)
        await notifying.later(3 * MINUTE_MS)
        back = START + 4 * MINUTE_MS
        notifying.take(notifying.records(changes(range(users), "down", "up", back, executor="north")))
        for _ in range(20):
            await notifying.later(MINUTE_MS)
        notifying.close()
    return [
        Figure(f"executor cut off from {users:,} targets: messages to users", counted.users, "messages", "<= 0"),
        Figure("executor cut off: messages to operators", counted.operators, "down and up", "<= 2"),
    ]


def _cpu_of(call: Callable[[], object]) -> float:
    began_s = time.process_time()
    call()
    return max(1e-6, time.process_time() - began_s)


# --- with a broker ----------------------------------------------------------------------------------------------------


def _start(made: Rig, rules: str) -> Worker:
    file = made.folder / "notify.toml"
    file.write_text(rules)
    variables = {
        "EVERWATCH_NOTIFY_FILE": str(file),
        "EVERWATCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "EVERWATCH_PARTITIONS": str(made.partitions),
        "EVERWATCH_NOTIFIER_PER_RECEIVER": "100",
    }
    notifier = Worker("notifier", made.folder, made.bootstrap_servers, ("notifier",), variables)
    made.workers.append(notifier)
    return notifier


def _wait_taken_in(made: Rig) -> None:
    """Wait until the notifier has stored all that is on its topics."""

    def is_stored() -> bool:
        try:
            with closing(open_existing(made.settings)) as storage:
                offsets = storage.offsets()
        except StoreError:
            # it is not made yet
            return False
        return all(
            offsets.get(Partition(topic, number), 0) >= end
            for topic in (made.topics.transitions, made.topics.monitors_changelog)
            for number, end in enumerate(made.ends(topic))
        )

    made.wait_until(is_stored, "the notifier has taken everything in", PATIENCE_S)


def _burst(made: Rig, taking: Receiver, seconds: int, a_second: int, monitors: int) -> list[Figure]:
    """Publish ``a_second`` transitions a second for ``seconds``, of users whose monitors change all at once."""
    users = max(100, a_second * seconds // 2 // monitors)
    made.publish(made.topics.monitors_changelog, Users(users))
    rules = f'[defaults]\ngroup_wait = "{GROUP_WAIT_S}s"\ngroup_interval = "0s"\n' + USERS_ROUTE.format(url=taking.url)
    notifier = _start(made, rules)
    _wait_taken_in(made)
    before_mib, cpu_s, began = notifier.resident_mib(), notifier.cpu_s(), taking.count
    count = a_second * seconds
    with publishing(
        made.bootstrap_servers, made.topics.transitions, Changes(users, 0, count, monitors=monitors), a_second=a_second
    ) as sent:
        began_s = made.clock.monotonic_s()
        sent.wait(seconds * 3 + 60)
        took_s = made.clock.monotonic_s() - began_s
    ended_at = made.clock.now_ms()
    made.say(f"{count:,} transitions are sent")
    _wait_taken_in(made)

    def is_told() -> bool:
        with closing(open_existing(made.settings)) as storage, storage.look() as work:
            standing = work.standing(made.clock.now_ms() + 10 * MINUTE_MS, 0)
        return not standing.events.amount and not standing.overdue.amount

    try:
        made.wait_until(is_told, "all transitions have a message", PATIENCE_S, look_s=0.5)
        least_late_ms = 0
    except Unmeasured as error:
        # what has not come is at least this late
        least_late_ms = made.clock.now_ms() - ended_at
        made.say(f"{error} {_why_not_told(made, notifier)}")
    arrivals = taking.arrivals()
    late = sorted(each.arrived_at - each.at - 1_000 * GROUP_WAIT_S for each in arrivals)
    p99_ms = max(late[int(len(late) * 0.99) - 1] if late else 0, least_late_ms)
    mib, used_s = notifier.resident_mib() - before_mib, notifier.cpu_s() - cpu_s
    made.stop_worker(notifier)
    who = f"{count:,} transitions in {seconds} s, {monitors} at once a user"
    told = {incident for each in arrivals for incident in each.incidents}
    return [
        Figure(f"{who}: published, with the start of what publishes", count / took_s, "a second"),
        Figure(f"{who}: webhooks", taking.count - began, "messages"),
        Figure(f"{who}: incidents of which nothing came", users * monitors - len(told), "incidents", "<= 0"),
        Figure(f"{who}: lateness beyond group_wait, p99", p99_ms, "ms", "<= 2000"),
        Figure(f"{who}: same message twice", len(arrivals) - len({each.key for each in arrivals}), "messages", "<= 0"),
        Figure(f"{who}: memory", mib, "MiB more", "<= 100"),
        Figure(f"{who}: CPU", used_s / count * 1e6, "µs a transition"),
    ]


def _why_not_told(made: Rig, notifier: Worker) -> str:
    """Return a sentence: what is left, and how long the process waited for a core: the machine may be too busy."""
    with closing(open_existing(made.settings)) as storage, storage.look() as work:
        standing = work.standing(made.clock.now_ms() + 10 * MINUTE_MS, 0)
    ran_s, waited_s = notifier.scheduled_s()
    failing = "; ".join(f"{each.amount} to {each.lane}: {each.reason}" for each in standing.failing)
    return (
        f"{standing.events.amount:,} events are not judged, {standing.overdue.amount:,} messages not sent"
        f" ({failing or 'no attempt failed'}). Its threads ran {ran_s:.0f} s, and waited {waited_s:.0f} s for a core."
    )


def _killed(made: Rig, taking: Receiver, kills: int) -> list[Figure]:
    """Kill the notifier ``kills`` times while the receiver is away; then let one deliver what is left."""
    users, each = 200, max(1, 200 // kills)
    rules = (
        '[defaults]\ngroup_wait = "0s"\ngroup_interval = "0s"\n[[operators]]\nname = "pager"\n'
        f'pagerduty = {{ routing_key = "bench", url = "{taking.url}" }}\n'
    )
    # what happens before the first notifier has begun is not told, and changes wait for their users for a minute
    made.publish(made.topics.monitors_changelog, Users(users))
    first = _start(made, rules)
    _wait_taken_in(made)
    made.stop_worker(first)
    taking.go_away(True)
    sent = 0
    for number in range(kills):
        notifier = _start(made, rules)
        count = each if number < kills - 1 else users - sent
        made.publish(made.topics.transitions, Changes(users, sent, min(count, users - sent), "killed"))
        sent += min(count, users - sent)
        # at another point of its work each time
        time.sleep(1.5 + number % 10 / 5)
        notifier.kill()
        made.workers.remove(notifier)
        if number % 10 == 9:
            made.say(f"{number + 1} SIGKILLs")
    taking.go_away(False)
    taking.arrivals()
    notifier = _start(made, rules)
    got: set[str] = set()
    came = 0

    def all_came() -> bool:
        nonlocal came
        fresh = taking.arrivals()
        came += len(fresh)
        got.update(one.key for one in fresh)
        return len(got) >= sent

    try:
        made.wait_until(all_came, "all messages have come", PATIENCE_S, look_s=0.5)
    except Unmeasured:
        made.say(f"{len(got)} of {sent} messages came")
    made.stop_worker(notifier)
    return [
        Figure(f"{kills} SIGKILLs while the receiver is away: lost", sent - len(got), "messages", "<= 0"),
        Figure(f"{kills} SIGKILLs: told under another id", max(0, len(got) - sent), "messages", "<= 0"),
        Figure(f"{kills} SIGKILLs: came again under the same id", came - len(got), "messages"),
    ]
