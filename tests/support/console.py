"""A console with a company's data: shops with monitors, a day of results and changes, and the lag of processes.

All in one file: one company, whose parts refer to each other.
"""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import aiohttp
import orjson
from msgspec.structs import replace

from everwatch.api.live import Live
from everwatch.api.permissions import Role
from everwatch.api.server import Server
from everwatch.core.config import Settings, load_settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import Member
from everwatch.kafka.lag import Lag
from everwatch.kafka.process_figures import GroupMembers, PartitionLag
from everwatch.kafka.topics import Topics
from everwatch.model import At, Every, Monitor, MonitorSpec, Origin, Policy, Result, State, Status, Transition, User
from everwatch.notifier.route_rows import listed_routes
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch
from support.api import START, Api
from support.console_day import answer_of, tell_alerts, tell_day
from support.notifying import MAIL_AT_ONCE, Notifying

MINUTE, HOUR = 60_000, 3_600_000
RESULTS, TRANSITIONS = Partition("everwatch-results", 0), Partition("everwatch-transitions", 0)
CITIES = ["Bern", "Lyon", "Porto", "Graz", "Turin", "Ghent", "Malmö", "Bilbao", "Brno", "Tartu", "Cork", "Leipzig"]
SHOPS = [
    "Aldgate Books", "Bonsai & Co", "Café Lumen", "Dockside Cycles", "Elm Street Records", "Fjord Outfitters",
    "Granite Coffee", "Harbour Cheese", "Indigo Denim", "Juniper Soap", "Kestrel Maps", "Lantern Toys",
    "Marble Bakery", "North Quay Wine", "Orchard Tea", "Paper Crane", "Quill Stationery", "Riverside Pottery",
    "Saffron Spice", "Tidewater Surf", "Umbra Lighting", "Velvet Florist", "Willow Furniture", "Zephyr Kites",
]  # fmt: skip


PROVIDER = "api.cardpay.example"
PAYING = ["bonsai-co", "fjord-outfitters", "kestrel-maps", "marble-bakery", "quill-stationery", "velvet-florist"]
"""The provider of card payments that is down, and the shops that need it."""


PROGRAMS = {Role.VIEWER: "wall display", Role.OPERATOR: "on-call phone", Role.ADMIN: "break glass"}


class Kind(NamedTuple):
    """A monitor that every shop has: its id, name, kind, config, interval and typical duration, ms."""

    monitor_id: str
    name: str
    kind: str
    config: dict[str, Any]
    every_ms: int
    took_ms: float


def kinds_of(shop: str) -> list[Kind]:
    """The monitors of a shop."""
    host = f"{shop}.example"
    payments = [Kind("payments", "Card payments", "http", {"url": f"https://{PROVIDER}/v2/status"}, MINUTE, 180)]
    return [
        *(payments if shop in PAYING else []),
        Kind("front-page", "Front page", "http", {"url": f"https://{host}/"}, MINUTE, 140),
        Kind("checkout", "Checkout", "http", {"url": f"https://{host}/checkout/health"}, MINUTE, 210),
        Kind("mail", "Mail server", "tcp", {"host": f"mail.{host}", "port": 25}, 5 * MINUTE, 32),
        Kind("nightly-backup", "Nightly backup", "heartbeat", {"period": "1d", "grace": "2h"}, 5 * MINUTE, 0),
        Kind("certificate", "Certificate", "tls", {"host": host, "port": 443}, HOUR, 55),
    ]


STATUS_PAGES = """
[[pages]]
slug = "checkouts"
title = "Checkouts of our shops"
domain = "status.shops.example"
subscribe = true
about = "Every shop that takes orders through us."
match = { kind = "tls" }

[[pages.maintenance]]
title = "New load balancers"
from = 2026-11-20T02:00:00Z
to = 2026-11-20T03:30:00Z
text = "Orders may take a few seconds longer."

[[pages.notices]]
title = "Payments were slow"
at = 2026-11-17T16:20:00Z
text = "A provider of payments answered late for twelve minutes. All orders went through."
"""
STATUS_PAGES += """
[[pages]]
slug = "card-payments"
title = "Card payments"
about = "Whether the provider of card payments answers, as seen from each shop that uses it."
match = { target = "api.cardpay.example" }
"""
RULES = f"""{MAIL_AT_ONCE}
[[operators]]
name = "payments-desk"
match = {{ target = ["*.cardpay.example"], severity = ["critical"] }}
min_down = "5m"
continue = true
webhook = {{ url = "https://desk.shops.example/pages" }}

[[operators]]
name = "hook"
webhook = {{ url = "https://hooks.example/ops" }}
"""
STATUS_PAGES += """
[[pages]]
slug = "board"
title = "Availability for the board"
access = "link"
match = { plan = "enterprise" }

[[pages]]
slug = "on-call"
title = "What is on call"
access = "signed-in"
match = { kind = "http" }
"""
WHY = {
    "http": "status 503, expected 200-299",
    "tcp": "connection refused",
    "heartbeat": "no heartbeat for 26 h, expected one each day and 2 h",
    "tls": "the certificate has expired on 2026-11-14",
}
BROKEN = {
    **{(shop, "payments"): State.DOWN for shop in PAYING},
    ("saffron-spice", "checkout"): State.DOWN,
    ("fjord-outfitters", "front-page"): State.DOWN,
    ("kestrel-maps", "certificate"): State.DOWN,
    ("marble-bakery", "nightly-backup"): State.LATE,
    ("paper-crane", "mail"): State.PAUSED,
    ("zephyr-kites", "front-page"): State.NEW,
}


class Data:
    """Stored records: entries, results and transitions."""

    def __init__(self) -> None:
        self.entries: list[CatalogueEntry] = []
        self.results: list[Result] = []
        self.transitions: list[Transition] = []
        self._random = random.Random(7)
        for number, name in enumerate(SHOPS):
            self._add(number, name)

    def _add(self, number: int, name: str) -> None:
        user_id = name.lower().replace(" & ", "-").replace(" ", "-").replace("é", "e")
        plan = ("free", "pro", "enterprise")[number % 3]
        since = START - (90 - number) * 24 * HOUR
        city = CITIES[number % len(CITIES)]
        attributes = {"name": name, "city": city, "email": f"ops@{user_id}.example"}
        kinds = kinds_of(user_id)
        ids = tuple(each.monitor_id for each in kinds)
        self.entries.append(CatalogueEntry(user_id, "", User(user_id, plan, attributes, ids, since, since)))
        for kind in kinds:
            self._add_monitor(user_id, kind, since, plan, city)
        if number % 2 == 0:
            task = ("send-invoice", "coupon-reminder", "renew-domain")[number // 2 % 3]
            url = f"https://{user_id}.example/hooks/{task}"
            due = START + (3 + number * number // 12) * MINUTE
            spec = MonitorSpec(task, "webhook", orjson.dumps({"url": url}).decode(), At(due))
            self.entries.append(CatalogueEntry(user_id, task, Monitor(user_id, spec, Origin.COMMAND, 1, START - HOUR)))

    def _add_monitor(self, user_id: str, kind: Kind, since: int, plan: str, city: str) -> None:
        state = BROKEN.get((user_id, kind.monitor_id), State.UP)
        at = START - self._random.randrange(3, 50) * MINUTE if state is not State.UP else since + MINUTE
        if kind.monitor_id == "payments":
            at = START - 9 * MINUTE - self._random.randrange(60) * 1_000
        why = why_of(kind) if state in (State.DOWN, State.LATE) else ""
        gone = took = 0
        if state is State.UP and self._random.random() < 0.3:
            # many of the last hour, some of the day
            gone = START - int(12 + 1_400 * self._random.random() ** 3) * MINUTE
            took = self._random.randrange(2, 11) * MINUTE
            at = gone + took
        spec = MonitorSpec(
            kind.monitor_id,
            kind.kind,
            orjson.dumps(kind.config, option=orjson.OPT_SORT_KEYS).decode(),
            Every(kind.every_ms),
            Policy(failures_to_down=2),
            name=kind.name,
            labels=(("city", city), ("team", "web")),
        )
        monitor = Monitor(
            user_id,
            spec,
            Origin.SIGNUP,
            1 + len(why) // 20,
            since,
            state,
            at,
            why,
            last_signal=START - 9 * HOUR if kind.kind == "heartbeat" else 0,
        )
        self.entries.append(CatalogueEntry(user_id, kind.monitor_id, monitor))
        if state is State.NEW:
            return
        self._change(user_id, kind, since + MINUTE, State.NEW, State.UP, "", plan)
        if state is not State.UP:
            self._change(user_id, kind, at, State.UP, state, why, plan, lasted_ms=at - since - MINUTE)
        elif gone:
            self._change(user_id, kind, gone, State.UP, State.DOWN, WHY[kind.kind], plan, lasted_ms=gone - since)
            self._change(user_id, kind, gone + took, State.DOWN, State.UP, "", plan, lasted_ms=took)
        self._run(user_id, kind, state, at, why)

    def _run(self, user_id: str, kind: Kind, state: State, at: int, why: str) -> None:
        """A day of results of a few monitors, the last hour of the others."""
        length = 24 * HOUR if user_id == "saffron-spice" else HOUR
        for due in range(START - length, START, kind.every_ms):
            failed = state is State.DOWN and due >= at
            took = kind.took_ms * (0.8 + self._random.random() * 0.5 + (2.5 if self._random.random() < 0.02 else 0))
            timings = (
                {"dns": took * 0.1, "connect": took * 0.2, "tls": took * 0.3, "first_byte": took * 0.4}
                if kind.kind == "http"
                else {}
            )
            self.results.append(
                Result(
                    user_id,
                    kind.monitor_id,
                    due,
                    kind.kind,
                    1,
                    Status.FAILURE if failed else Status.SUCCESS,
                    why if failed else "",
                    due + 40,
                    round(took, 1),
                    timings={name: round(ms, 1) for name, ms in timings.items()},
                    executor="executor-bern-1",
                )
            )

    def _change(
        self,
        user_id: str,
        kind: Kind,
        at: int,
        before: State,
        after: State,
        why: str,
        plan: str,
        lasted_ms: int = MINUTE,
    ) -> None:
        host = kind.config.get("host") or kind.config.get("url", "").split("/")[2:3]
        target = host if isinstance(host, str) else (host[0] if host else "")
        is_alert = after in (State.DOWN, State.LATE) or before is State.DOWN
        self.transitions.append(
            Transition(
                user_id,
                kind.monitor_id,
                at,
                before,
                after,
                why,
                1,
                is_alert,
                False,
                kind.kind,
                target,
                plan,
                lasted_ms=lasted_ms,
            )
        )


def why_of(kind: Kind) -> str:
    """The reason for which a monitor of this kind is down."""
    return "no answer within 10 s" if kind.monitor_id == "payments" else WHY[kind.kind]


def lag() -> Lag:
    """The lag of a worker, two executors and a sink; one partition has no executor."""
    rows = []
    for number in range(8):
        for process, topic, behind in (
            ("worker", "everwatch-signups", 0),
            ("executor", "everwatch-ticks-normal", 3),
            ("sink", "everwatch-results", 12),
        ):
            owner = "" if process == "executor" and number == 5 else f"everwatch-{process}-bern-{1 + number % 2}"
            count = 420 if not owner else behind * (number % 3)
            rows.append(
                PartitionLag(
                    topic,
                    f"everwatch-{process}",
                    process,
                    number,
                    10_000,
                    10_000 + count,
                    count,
                    94.0 if not owner else count * 0.1,
                    owner,
                    "10.0.4.17" if owner else "",
                    START - 400 if process == "worker" else None,
                )
            )
    of = {
        process: tuple(
            Member(
                f"everwatch-{process}-bern-{n}",
                "10.0.4.17",
                frozenset({(f"everwatch-{process}", m) for m in range(n - 1, 8, 2)}),
            )
            for n in (1, 2)
        )
        for process in ("worker", "executor", "sink")
    }
    return Lag(START, tuple(rows), of)


class ConsoleApi(Api):
    """An API with that data."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.data = data = Data()
        self.notifying = _notifying(folder, data)
        self.storage = self.notifying.storage
        self.take_incidents = self._seen_to
        file = folder / "status.toml"
        file.write_text(STATUS_PAGES)
        self.status_pages = StatusPagesFile(file)
        self.worker.put(*data.entries)
        results = [Received(RESULTS, i, each.scheduled_at, each) for i, each in enumerate(data.results)]
        changes = [Received(TRANSITIONS, i, each.at, each) for i, each in enumerate(data.transitions)]
        self.store.apply(SinkBatch(START, {RESULTS: len(results), TRANSITIONS: len(changes)}, results, changes))
        self._offset = 10**6
        for days, record in enumerate(sorted(self.tokens.records(), key=lambda each: each.role), 1):
            # the order of random ids is open, that of instants is not
            self.tokens.put(replace(record, name=PROGRAMS[record.role], created_at=START - days * 24 * HOUR))
        self.picture_cookie: Any = None

    def new_live(self) -> Live:
        """Return the source of live events, without clients."""
        return Live(
            Topics.of(load_settings()),
            self._follow,
            self._replayed,
            lambda principal: self.tokens.is_valid(principal, self.clock.now_ms()),
            self.clock,
        )

    def services(self) -> Any:
        return super().services()._replace(measure_lag=lag, owners=_owners)

    def tell(self, value: Result | Transition) -> None:
        """Send one live event to those who follow."""
        record = self._event(value)
        if self.taker is not None:
            self.taker([record])

    def tell_later(self, value: Result | Transition) -> None:
        """Write an event that is read again for those who have seen what came before it."""
        record = self._event(value)
        self.held.append(record)
        self.ends[record.topic.removeprefix("everwatch-"), 0] = record.offset + 1

    def _event(self, value: Result | Transition) -> Record:
        self._offset += 1
        is_result = isinstance(value, Result)
        topics = Topics.of(load_settings())
        topic = topics.results if is_result else topics.transitions
        encode: Any = codec.encode_result if is_result else codec.encode_transition
        data = encode(value, OutputFormat.JSON)
        return Record(topic, 0, self._offset, START, codec.user_key(value.user_id), data)

    def tell_some(self) -> None:
        """Send a few results and changes of state."""
        for number, name in enumerate(SHOPS[:14]):
            user_id = name.lower().replace(" & ", "-").replace(" ", "-").replace("é", "e")
            kind = kinds_of(user_id)[number % 3]
            failed = number % 6 == 4
            status = Status.FAILURE if failed else Status.SUCCESS
            why = WHY[kind.kind] if failed else ""
            at = START - (14 - number) * 700
            self.tell(
                Result(
                    user_id,
                    kind.monitor_id,
                    at,
                    kind.kind,
                    1,
                    status,
                    why,
                    at + 40,
                    kind.took_ms,
                    executor="executor-bern-1",
                )
            )
            if number % 7 == 3:
                self.tell(
                    Transition(
                        user_id, kind.monitor_id, at, State.UP, State.DOWN, WHY[kind.kind], 1, True, False, kind.kind
                    )
                )

    def _seen_to(self, records: list[Record]) -> None:
        """The notifier takes requests about incidents, and judges what follows: one that is resolved is over."""
        self.notifying.ask(records)
        self.notifying.judge()

    async def start(self) -> None:
        """Serve, at the address from before if there was one."""
        sock = socket.create_server(("127.0.0.1", int(self.url.rpartition(":")[2] or 0)))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._server = Server(self.services(), _at_once)
        await self._server.start(sock)

    async def stop(self) -> None:
        """End as a process ends: what follows is forgotten, and a new one follows anew."""
        await self._server.stop()
        self.live = self.new_live()


def _owners(partition: int, _: Policy) -> GroupMembers:
    executors = ("everwatch-executor-bern-1", "everwatch-executor-bern-2")
    return GroupMembers("everwatch-worker-bern-1", executors[partition % 2], executors)


def _notifying(folder: Path, data: Data) -> Notifying:
    """A notifier that has seen what is broken, and nothing of it was acknowledged."""
    made = Notifying(Settings(data_dir=folder), RULES, start=START - 2 * 24 * HOUR)
    with made.storage.begin() as work:
        work.put_routes(listed_routes(made.rules))
    for each in data.entries:
        if isinstance(each.value, User):
            made.sign_up(each.user_id, each.value.plan, email=f"ops@{each.user_id}.example")
    made.receiver.answers = answer_of
    return made


async def _at_once(_: str, __: float) -> None:
    """Every position was passed."""


@asynccontextmanager
async def console_api() -> AsyncIterator[ConsoleApi]:
    """Run it meanwhile."""
    with TemporaryDirectory() as folder:
        running = ConsoleApi(Path(folder))
        await tell_alerts(running.notifying, running.data.transitions, START)
        await running.start()
        async with aiohttp.ClientSession() as running.session:
            try:
                await tell_day(running)
                yield running
            finally:
                await running.stop()
                running.notifying.close()
