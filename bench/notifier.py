"""The notifier: rates of its steps, messages in outages, lateness in a burst, and messages lost by SIGKILLs.

Rates are of one process over SQLite, in CPU seconds of that process: records are made before the clock starts, and
webhooks go to a receiver in another process. The outages (100,000 users at one target; an executor that is cut off) run
the real steps over a real database, with a clock that is set and receivers in this process. The burst and the SIGKILLs
are of a real ``everwatch notifier`` that reads from a broker.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import uvloop

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.producing import Records, publishing
from bench.receiver import Receiver, receiver
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.worker import Worker
from everwatch.core.clock import Clock, SettableClock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import State, Transition, User
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver
from everwatch.notifier.composing import compose
from everwatch.notifier.dispatch import Dispatcher, Limits, OverHttp
from everwatch.notifier.intake import build_batch, take_in
from everwatch.notifier.judging import judge
from everwatch.notifier.rules_file import rules_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.senders.over_http import HttpSender
from everwatch.notifier.storage import open_existing, open_storage
from everwatch.store.partition import Partition

BATCH = 5_000
START = 1_800_000_000_000
MINUTE_MS = 60_000
GROUP_WAIT_S = 1
_AT_ONCE = Limits(200, 100)
_PATIENCE_S = 240.0
_LOCAL = Guard((ip_network("127.0.0.0/8"),))
USERS_ROUTE = '[[users]]\nname = "own"\nwebhook = {{ url = "{url}" }}\n'
OPERATORS_ROUTE = '[[operators]]\nname = "ops"\nwebhook = { url = "http://127.0.0.1:9/ops" }\n'


def measure(plan: Plan) -> Outcome:
    """Measure the steps, the outages, a burst and SIGKILLs."""
    quick = plan.quick
    figures = [
        *uvloop.run(_steps(5_000 if quick else 50_000)),
        *uvloop.run(_one_target(plan.users or (5_000 if quick else 100_000))),
        *uvloop.run(_cut_off(500 if quick else 5_000)),
    ]
    with receiver() as taking, rig(partitions=4) as made:
        figures += _burst(made, taking, seconds=5 if quick else 60, a_second=500 if quick else 3_334, monitors=10)
        figures += _killed(made, taking, kills=3 if quick else 100)
    return Outcome(figures)


def changes(
    users: range,
    from_state: str,
    to_state: str,
    at: int,
    step_ms: float = 0.0,
    monitor_id: str = "shop",
    **more: object,
) -> Iterator[Transition]:
    """A change of one monitor of each user, each at a target of its own unless ``target`` says which."""
    states = State(from_state), State(to_state)
    for n in users:
        given: dict[str, object] = {"reason": "status 500", "version": 1, "kind": "http", "target": f"t-{n}.example"}
        when = at + int((n - users.start) * step_ms)
        yield Transition(f"u-{n:07}", monitor_id, when, *states, **given | more)  # type: ignore[arg-type]


class CountingReceivers:
    """Receivers in this process that accept every message and count it."""

    def __init__(self) -> None:
        self.users, self.operators = 0, 0

    async def send(self, *_: object, from_user: bool = False) -> AttemptOutcome:
        """Accept a message."""
        self.users += from_user
        self.operators += not from_user
        return AttemptOutcome(Verdict.SENT, "taken")


class Notifying:
    """A notifier over SQLite whose steps are called one by one."""

    def __init__(self, folder: Path, rules: str, http: OverHttp, clock: Clock) -> None:
        settings = Settings(data_dir=folder)
        self._topics = Topics.of(settings)
        self._rules = rules_of(rules.encode(), folder / "notify.toml")
        self._clock = clock
        self._offsets: Counter[str] = Counter()
        self._storage = open_storage(settings)
        with self._storage.begin() as work:
            work.begun_at(clock.now_ms() - MINUTE_MS)
        self._dispatcher = Dispatcher(
            self._storage, lambda: self._rules, http, _NoMail(), clock, _AT_ONCE, self._at_once
        )

    async def _at_once(self, call: Callable[[], int]) -> int:
        return call()

    def users(self, users: range) -> list[Record]:
        """The records of users, as the changelog has them."""
        topic = self._topics.monitors_changelog
        return [
            self._record(topic, codec.table_key(user), codec.encode_entry(User(user, "pro", {}, (), START, START)))
            for user in (f"u-{n:07}" for n in users)
        ]

    def records(self, transitions: Iterator[Transition]) -> list[Record]:
        """The records of transitions."""
        return [
            self._record(
                self._topics.transitions,
                codec.user_key(each.user_id),
                codec.encode_transition(each, OutputFormat.AVRO),
            )
            for each in transitions
        ]

    def _record(self, topic: str, key: bytes, value: bytes) -> Record:
        self._offsets[topic] += 1
        return Record(topic, 0, self._offsets[topic], self._clock.now_ms(), key, value)

    def take(self, records: list[Record]) -> None:
        """Take in records, in batches."""
        for begin in range(0, len(records), BATCH):
            take_in(self._storage, build_batch(records[begin : begin + BATCH], self._topics, self._clock.now_ms()))

    def judge(self) -> None:
        """Judge all that waits."""
        while judge(self._storage, self._rules, [0], self._topics.transitions, self._clock.now_ms()).events:
            pass

    def compose(self) -> None:
        """Compose messages of all groups that are due."""
        while compose(self._storage, self._rules, self._clock.now_ms()):
            with self._storage.look() as work:
                if not work.groups_to_flush(self._clock.now_ms(), 1):
                    return

    async def send(self, is_all: Callable[[], bool]) -> None:
        """Send as the process does until ``is_all`` is true."""
        sending = asyncio.create_task(self._dispatcher.run())
        async with asyncio.timeout(_PATIENCE_S):
            while not is_all():  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.05)
        self._dispatcher.stop()
        await sending
        await self._dispatcher.finish(10)

    async def send_at_once(self) -> None:
        """Send all that is due now, to receivers in this process."""
        begun = True
        while begun:
            begun = bool(await self._dispatcher.turn())
            for _ in range(10):
                await asyncio.sleep(0)

    async def later(self, ms: int) -> None:
        """Move the clock by ``ms`` and do what is due then."""
        assert isinstance(self._clock, SettableClock)
        self._clock.advance(ms)
        self.judge()
        self.compose()
        await self.send_at_once()

    def close(self) -> None:
        """Close the database."""
        self._storage.close()


class _NoMail:
    async def send(self, *_: object) -> AttemptOutcome:
        raise Unmeasured("No mail is sent here.")


async def _steps(users: int) -> list[Figure]:
    """Rate of each step by itself, per second of CPU."""
    with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder, receiver() as taking:
        clock = SystemClock()
        resolver = Resolver(clock)
        client = HttpClient(clock, _LOCAL, resolver, Egress())
        rules = '[defaults]\ngroup_wait = "0s"\ngroup_interval = "0s"\n' + USERS_ROUTE.format(url=taking.url)
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
    return [
        Figure("transitions taken in", users / took[0], "per CPU s", ">= 20000"),
        Figure("transitions judged", users / took[1], "per CPU s"),
        Figure("messages composed", users / took[2], "per CPU s"),
        Figure("webhooks sent", users / sending_s, "per CPU s", ">= 2000"),
        Figure("transition to webhook, all steps", users / (sum(took) + sending_s), "per CPU s"),
    ]


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


@dataclass(frozen=True)
class Users:
    """Entries of users in the changelog."""

    users: int

    def records(self) -> Records:
        """Keys and values."""
        for n in range(self.users):
            user = f"u-{n:07}"
            yield codec.table_key(user), codec.encode_entry(User(user, "pro", {}, (), START, START))


@dataclass(frozen=True)
class Changes:
    """Changes of each user's monitors, alternately down and up, stamped when they are sent."""

    users: int
    first: int
    count: int
    monitor_id: str = "shop"
    monitors: int = 1

    def records(self) -> Records:
        """Keys and values."""
        clock = SystemClock()
        for number in range(self.first, self.first + self.count):
            turn, rest = divmod(number, self.users * self.monitors)
            n, which = divmod(rest, self.monitors)
            states = ("up", "down") if turn % 2 == 0 else ("down", "up")
            monitor_id = f"{self.monitor_id}-{which}"
            [change] = changes(range(n, n + 1), *states, clock.now_ms(), monitor_id=monitor_id)
            yield codec.user_key(change.user_id), codec.encode_transition(change, OutputFormat.AVRO)


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

    made.wait_until(is_stored, "the notifier has taken everything in", _PATIENCE_S)


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
        sent.wait(seconds * 10 + 60)
    made.say(f"{count:,} transitions are sent")
    _wait_taken_in(made)

    def is_told() -> bool:
        with closing(open_existing(made.settings)) as storage, storage.look() as work:
            standing = work.standing(made.clock.now_ms() + 10 * MINUTE_MS, 0)
        return not standing.events.amount and not standing.overdue.amount

    made.wait_until(is_told, "all is told", _PATIENCE_S, look_s=0.5)
    arrivals = taking.arrivals()
    late = sorted(each.arrived_at - each.at - 1_000 * GROUP_WAIT_S for each in arrivals)
    mib, used_s = notifier.resident_mib() - before_mib, notifier.cpu_s() - cpu_s
    made.stop_worker(notifier)
    who = f"{count:,} transitions in {seconds} s, {monitors} at once a user"
    told = {incident for each in arrivals for incident in each.incidents}
    return [
        Figure(f"{who}: webhooks", taking.count - began, "messages"),
        Figure(f"{who}: incidents of which nothing came", users * monitors - len(told), "incidents", "<= 0"),
        Figure(f"{who}: lateness beyond group_wait, p99", late[int(len(late) * 0.99) - 1], "ms", "<= 2000"),
        Figure(f"{who}: same message twice", len(arrivals) - len({each.key for each in arrivals}), "messages", "<= 0"),
        Figure(f"{who}: memory", mib, "MiB more", "<= 100"),
        Figure(f"{who}: CPU", used_s / count * 1e6, "µs a transition"),
    ]


def _killed(made: Rig, taking: Receiver, kills: int) -> list[Figure]:
    """Kill the notifier ``kills`` times while the receiver is away; then let one deliver what is left."""
    users, each = 200, max(1, 200 // kills)
    rules = (
        '[defaults]\ngroup_wait = "0s"\ngroup_interval = "0s"\n[[operators]]\nname = "pager"\n'
        f'pagerduty = {{ routing_key = "bench", url = "{taking.url}" }}\n'
    )
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
        made.wait_until(all_came, "all messages have come", _PATIENCE_S, look_s=0.5)
    except Unmeasured:
        made.say(f"{len(got)} of {sent} messages came")
    made.stop_worker(notifier)
    return [
        Figure(f"{kills} SIGKILLs while the receiver is away: lost", sent - len(got), "messages", "<= 0"),
        Figure(f"{kills} SIGKILLs: told under another id", max(0, len(got) - sent), "messages", "<= 0"),
        Figure(f"{kills} SIGKILLs: came again under the same id", came - len(got), "messages"),
    ]
