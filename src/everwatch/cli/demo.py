"""``everwatch demo``: the whole of Everwatch with made-up users, live, and an account at the end."""

import signal
import socket
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.live import Live

from everwatch.admission import admit_signup
from everwatch.cli.local import PROCESSES, Local
from everwatch.cli.options import Bootstrap, DataDir, settings_of
from everwatch.cli.publishing import Publisher
from everwatch.clock import Clock, SystemClock
from everwatch.config import Settings
from everwatch.demo.account import Account, settle_account
from everwatch.demo.cast import Cast, Health, Mix, number_of
from everwatch.demo.observer import Observer
from everwatch.demo.view import Glance, draw, line, print_summary
from everwatch.errors import EverwatchError, InvalidInput, SettingsError, StoreError
from everwatch.kafka.topics import Topics
from everwatch.model import State
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.store.interface import Counts
from everwatch.store.reader import SqlReader, open_reader

HEARTBEAT_EVERY_S = 1.0
REGISTERED_WITHIN_S = 60.0
ACCOUNT_WITHIN_S = 15.0
PORTS_FILE = "demo-ports"
PORTS = range(18_080, 32_000)
# every target of the demo is on this machine, which need not be spared
_ENVIRONMENT = {
    "EVERWATCH_ALLOW_NETWORKS": "127.0.0.0/8",
    "EVERWATCH_TARGET_IN_FLIGHT": "0",
    "EVERWATCH_TARGET_PER_S": "0",
    # the users have a plan that is in no file
    "EVERWATCH_PLANS_FILE": "",
}


def demo(
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="Made-up users.")] = 200,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so long, counted from when everybody is signed up.")
    ] = None,
    every: Annotated[str, typer.Option(help="Interval of the http and tcp monitors.")] = "5s",
    mix: Annotated[Mix, typer.Option(help="Monitors of each user: all kinds, or one http check.")] = Mix.ALL,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line of stdout, and nothing else there.")
    ] = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Run Kafka, a worker, an executor and a sink with made-up users whose monitors check a local server.

    Some monitors are broken on purpose. At the end an account compares what was due by the schedules alone with what
    the database holds; the exit status is 1 if anything was missed or counted twice. Starting again goes on with the
    same users and state.

    Examples: `everwatch demo` · `everwatch demo --users 5000 --mix http --every 10s --seconds 60`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if "data_dir" not in settings.model_fields_set:
        # made-up users must not end up among real ones
        settings = settings_of(settings.data_dir / "demo", bootstrap_servers)
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    console = Console(stderr=True)
    clock = SystemClock()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    target_port, dead_port = _ports(settings)
    cast = Cast(users, mix, every, target_port, dead_port)
    try:
        admit_signup(next(cast.signups())[1])
    except InvalidInput as error:
        raise SettingsError(f"--every {every}: {error.reason}.") from None
    broken = Counter(part.health for part in cast.all_parts())
    with Local(settings, clock, console) as local:
        console.print(f"Starting Kafka and Everwatch in {settings.data_dir} …", highlight=False)
        local.start_kafka()
        local.start("target", [sys.executable, "-m", "everwatch.demo.target", str(target_port)])
        for name in PROCESSES:
            local.start(name, extra=_ENVIRONMENT)
        run = _Run(settings, clock, local, cast, stop)
        try:
            summary, account = run.perform(console, seconds, live=not as_json and console.is_terminal)
        finally:
            run.close()
        console.print("Stopping…")
    if as_json:
        typer.echo(orjson.dumps(summary).decode())
    else:
        print_summary(
            Console(), summary, account.redelivered, {"down": broken[Health.DOWN], "late": broken[Health.LATE]}
        )
        Console().print(f"  [dim]look inside: everwatch results --data-dir {settings.data_dir}[/]", highlight=False)
    if account.missed or account.duplicates:
        raise typer.Exit(1)


class _Run:
    """One performance, from the signups to the account."""

    def __init__(self, settings: Settings, clock: Clock, local: Local, cast: Cast, stop: threading.Event) -> None:
        self._settings = settings
        self._clock = clock
        self._local = local
        self._cast = cast
        self._stop = stop
        self._topics = Topics.of(settings)
        self._observer = Observer(settings, local.bootstrap_servers, clock)
        self._publisher = Publisher(settings, local.bootstrap_servers)
        self._reader: SqlReader | None = None
        self._next_heartbeat_s = 0.0
        self._said: list[str] = []
        self._counts = Counts(users=0, monitors=0, by_state={}, results=0)

    def perform(self, console: Console, seconds: float | None, *, live: bool) -> tuple[dict[str, object], Account]:
        """Sign everybody up, watch until the time is up or Ctrl-C, and settle the account."""
        self._sign_up(console)
        self._observer.forget_lateness()
        begun_s = self._clock.monotonic_s()
        after = self._clock.now_ms() // PHASE_STEP_MS * PHASE_STEP_MS
        with Live(console=console, auto_refresh=False, transient=True) if live else _Silent() as screen:
            ticks, results, at_s = self._observer.ticks, self._observer.results, begun_s
            told_s = begun_s
            while not self._stop.wait(0.25):
                now_s = self._clock.monotonic_s()
                self._tend(console)
                if seconds is not None and now_s - begun_s >= seconds:
                    break
                if now_s - at_s < 1.0:
                    continue
                glance = self._glance(now_s - begun_s, ticks, results, now_s - at_s)
                ticks, results, at_s = self._observer.ticks, self._observer.results, now_s
                if isinstance(screen, Live):
                    screen.update(draw(glance), refresh=True)
                elif now_s - told_s >= 5:
                    told_s = now_s
                    console.print(line(glance), highlight=False, soft_wrap=True)
        upto = self._clock.now_ms() // PHASE_STEP_MS * PHASE_STEP_MS
        lateness = self._observer.lateness()
        account = self._settle(console, after, upto)
        counts = self._count()
        return {
            "users": counts.users,
            "monitors": counts.monitors,
            "ticks_due": account.due,
            "ticks_emitted": self._observer.emitted(after, upto),
            "results_stored": account.stored,
            "missed": account.missed,
            "duplicates": account.duplicates,
            "lateness_ms": {"p50": lateness.p50, "p99": lateness.p99, "max": lateness.most},
            "up": counts.by_state.get(State.UP, 0),
            "down": counts.by_state.get(State.DOWN, 0),
            "late": counts.by_state.get(State.LATE, 0),
            "seconds": round((upto - after) / 1000, 1),
        }, account

    def close(self) -> None:
        """Let go of topics and database."""
        self._observer.close()
        if self._reader is not None:
            self._reader.close()

    def _sign_up(self, console: Console) -> None:
        """Publish the signups; wait until a worker is there and the database knows everybody, and nobody else."""
        begun = self._clock.now_ms()
        console.print(f"Signing up {self._cast.users} users …", highlight=False)
        for user, event in self._cast.signups():
            self._publisher.send(self._topics.signups, user, event)
        self._publisher.finish()
        deadline_s = self._clock.monotonic_s() + REGISTERED_WITHIN_S
        dismissed: set[str] = set()
        while not self._stop.is_set():
            self._tend(console)
            counts = self._count()
            for user in self._surplus() - dismissed:
                dismissed.add(user)
                event = orjson.dumps({"command": "deregister", "user_id": user})
                self._publisher.send(self._topics.commands, user, event)
            wanted = sum(1 for _ in self._cast.all_parts())
            if counts.users == self._cast.users and counts.monitors == wanted and self._observer.watched_since(begun):
                return
            if self._clock.monotonic_s() > deadline_s:
                raise EverwatchError(
                    f"Only {counts.users} of {self._cast.users} users were registered within {REGISTERED_WITHIN_S:g} s;"
                    f" see the logs in {self._local.log_folder}."
                )
            self._stop.wait(0.2)

    def _surplus(self) -> set[str]:
        """Demo users of an earlier, larger demo."""
        if self._reader is None or self._counts.users <= self._cast.users:
            return set()
        users = {stretch.user_id for stretch in self._reader.history() if stretch.until is None}
        return {user for user in users if (number_of(user) or 0) >= self._cast.users}

    def _tend(self, console: Console) -> None:
        """Send the heartbeats that are due and look after the processes."""
        for sentence in self._local.look_after():
            self._said.append(sentence)
            console.print(sentence, highlight=False)
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_heartbeat_s:
            self._next_heartbeat_s = now_s + HEARTBEAT_EVERY_S
            for user, signal_event in self._cast.heartbeats():
                self._publisher.send(self._topics.signals, user, signal_event)

    def _count(self) -> Counts:
        try:
            if self._reader is None:
                self._reader = open_reader(self._settings)
            self._counts = self._reader.counts()
        except StoreError:
            pass  # the sink has not made the database yet
        return self._counts

    def _glance(self, seconds: float, ticks: int, results: int, since_s: float) -> Glance:
        counts = self._count()
        return Glance(
            seconds=seconds,
            users=counts.users,
            monitors=counts.monitors,
            ticks_per_s=(self._observer.ticks - ticks) / since_s,
            results_per_s=(self._observer.results - results) / since_s,
            lateness=self._observer.lateness(),
            by_state=counts.by_state,
            transitions=list(self._observer.transitions),
            said=self._said,
        )

    def _settle(self, console: Console, after: int, upto: int) -> Account:
        """The account, once the last results are in, or after a while without them."""
        deadline_s = self._clock.monotonic_s() + ACCOUNT_WITHIN_S
        if self._reader is None:
            self._reader = open_reader(self._settings)
        while True:
            account = settle_account(self._reader, after, upto)
            if not account.missed or self._clock.monotonic_s() > deadline_s:
                return account
            self._tend(console)
            threading.Event().wait(0.3)


class _Silent:
    """Stands in for the live screen where there is none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _ports(settings: Settings) -> tuple[int, int]:
    """A port for the target and one where nothing listens, the same at each start where they are free."""
    file = settings.data_dir / PORTS_FILE
    remembered = [int(word) for word in file.read_text().split()] if file.exists() else []
    target, dead = (
        remembered if len(remembered) == 2 and all(map(_is_free, remembered)) else _free_ports(settings.data_dir)
    )
    file.write_text(f"{target} {dead}\n")
    return target, dead


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports(folder: Path) -> Iterator[int]:
    """Two free ports below the range from which outgoing connections get theirs.

    Every data folder looks from another port on, so that demos started at the same moment do not find the same two.
    """
    begin = zlib.crc32(bytes(folder.resolve())) % len(PORTS)
    return islice((port for port in [*PORTS[begin:], *PORTS[:begin]] if _is_free(port)), 2)
