"""``everwatch demo``: the whole of Everwatch with made-up users, live, and an account at the end."""

import signal
import sys
import threading
from collections import Counter
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.live import Live

from everwatch.cli.support.input_publisher import InputPublisher
from everwatch.cli.support.local_processes import PROCESSES, ConsoleAccess, Local
from everwatch.cli.support.options import Bootstrap, DataDir, prepare_data_folder, settings_of
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings, given_settings
from everwatch.core.errors import EverwatchError, InvalidInput, SettingsError, StoreError
from everwatch.demo.account import Account, settle_account
from everwatch.demo.cast import Cast, Mix
from everwatch.demo.certificates import write_certificates
from everwatch.demo.companies import is_of_a_demo, number_of
from everwatch.demo.inbox import Arrivals, rules_of
from everwatch.demo.observer import Observer
from everwatch.demo.ports import DemoPorts, choose_ports
from everwatch.demo.showcase import SHOWCASE_USER, DemoState, ShowpieceEnding, judge
from everwatch.demo.view import Glance, draw, line, print_showcase, print_summary
from everwatch.kafka.clients import KafkaClients, new_admin
from everwatch.kafka.topics import Topics, create_topic
from everwatch.model import State
from everwatch.rules.admission import admit_signup
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.store.sql_reader import SqlReader, open_reader
from everwatch.store.stored_values import Counts

SIGNALS_EVERY_S = 1.0
_INBOX_FILE, _RULES_FILE = "demo-inbox.jsonl", "demo-notify.toml"
REGISTERED_WITHIN_S = 180.0
# on a busy machine the last results take their time; after a moment it is said that they are awaited
ACCOUNT_WITHIN_S = 60.0
SETTLING_SAID_AFTER_S = 3.0
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
    """Run Kafka and one of each process with made-up users whose monitors check a local server.

    Some monitors are broken on purpose, and their alerts arrive at a local mail server and webhook. One more user,
    `showcase`, has a healthy and a failing monitor of every kind. At the end an account compares what was due by the
    schedules alone with what the database holds, and a table says how each kind ended; the exit status is 1 if anything
    was missed, counted twice or not as expected. Starting again goes on with the same users and state.

    Examples: `everwatch demo` · `everwatch demo --users 5000 --mix http --every 10s --seconds 60`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if data_dir is None and "data_dir" not in given_settings():
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
    topic = f"{settings.topic_prefix}demo-greetings"
    try:
        # any ports do for this
        admit_signup(next(Cast(users, mix, every, DemoPorts(1, 2, 3, 4), topic).signups())[1])
    except InvalidInput as error:
        raise SettingsError(f"--every {every}: {error.reason}.") from None
    prepare_data_folder(settings)
    with Local(settings, clock, console) as local:
        console.print(f"Starting Kafka and Everwatch in {settings.data_dir} …", highlight=False)
        local.start_kafka()
        # not before the folder is ours: a demo that runs there goes by these files
        ports = choose_ports(settings.data_dir)
        cast = Cast(users, mix, every, ports, topic)
        broken = Counter(part.health for part in cast.all_parts())
        api = _start_processes(local, settings, clock, cast, ports)
        console.print(f"Console: {api.link}  (opens once, within 10 minutes)", soft_wrap=True, highlight=False)
        console.print(f"API: {api.address}  Token of an administrator: {api.token}", soft_wrap=True, highlight=False)
        run = _Run(settings, clock, local, cast, stop)
        try:
            summary, account, endings = run.perform(console, seconds, live=not as_json and console.is_terminal)
        finally:
            run.close()
        console.print("Stopping…")
    if as_json:
        typer.echo(orjson.dumps(summary).decode())
    else:
        print_summary(
            Console(), summary, account.redelivered, {"down": broken[DemoState.DOWN], "late": broken[DemoState.LATE]}
        )
        print_showcase(Console(), endings)
        Console().print(f"  [dim]look inside: everwatch results --data-dir {settings.data_dir}[/]", highlight=False)
    if account.missed or account.duplicates or any(ending.problem for ending in endings):
        raise typer.Exit(1)


def _start_processes(local: Local, settings: Settings, clock: Clock, cast: Cast, ports: DemoPorts) -> ConsoleAccess:
    """Start the targets and the inbox of the demo, then one of each process; gives where the API is."""
    certificates = settings.data_dir / "demo-certificates"
    trusted = write_certificates(certificates, clock.now_ms()).trusted
    create_topic(new_admin(settings, local.bootstrap_servers), settings, cast.topic)
    served = [str(port) for port in (ports.web, ports.tls, ports.dns)]
    local.start("target", [sys.executable, "-m", "everwatch.demo.target", *served, str(certificates)])
    inbox = settings.data_dir / _INBOX_FILE
    local.start("inbox", [sys.executable, "-m", "everwatch.demo.inbox", str(ports.mail), str(ports.hook), str(inbox)])
    rules = settings.data_dir / _RULES_FILE
    rules.write_text(rules_of(ports))
    for name in PROCESSES:
        # a worker that knew the topics would refuse the monitor that is to fail for its topic
        topics = cast.topic if name == "executor" else ""
        extra = {
            "EVERWATCH_PUBLISH_TOPICS": topics,
            "EVERWATCH_CA_FILE": str(trusted),
            "EVERWATCH_NOTIFY_FILE": str(rules),
        }
        local.start(name, extra=_ENVIRONMENT | extra)
    return local.start_api(_ENVIRONMENT)


class _Run:
    """One performance, from the signups to the account."""

    def __init__(self, settings: Settings, clock: Clock, local: Local, cast: Cast, stop: threading.Event) -> None:
        self._settings = settings
        self._clock = clock
        self._local = local
        self._cast = cast
        self._stop = stop
        self._topics = Topics.of(settings)
        self._observer = Observer(settings, local.bootstrap_servers, clock, cast.topic if cast.showcase else "")
        self._publisher = InputPublisher(KafkaClients(settings, local.bootstrap_servers), local.bootstrap_servers)
        self._arrivals = Arrivals(settings.data_dir / _INBOX_FILE)
        self._reader: SqlReader | None = None
        self._next_signals_s = 0.0
        self._said: list[str] = []
        self._counts = Counts(users=0, monitors=0, by_state={}, results=0)

    def perform(
        self, console: Console, seconds: float | None, *, live: bool
    ) -> tuple[dict[str, object], Account, list[ShowpieceEnding]]:
        """Sign all users up, watch until the time is up or Ctrl-C, and print the reconciliation."""
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
        account, endings, counts = self._settle(console, after, upto)
        self._arrivals.look()
        summary: dict[str, object] = {
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
            "alerts": self._arrivals.by,
            "seconds": round((upto - after) / 1000, 1),
            "showcase": [ending.as_json() for ending in endings],
        }
        return summary, account, endings

    def close(self) -> None:
        """Close topics and database."""
        self._observer.close()
        if self._reader is not None:
            self._reader.close()

    def _sign_up(self, console: Console) -> None:
        """Publish the signups; wait until a worker runs and the database holds these users and no others."""
        begun = self._clock.now_ms()
        console.print(f"Signing up {self._cast.users} users …", highlight=False)
        for user, event in self._cast.signups():
            self._publisher.send(self._topics.signups, user, event)
        self._publisher.finish()
        deadline_s = self._clock.monotonic_s() + REGISTERED_WITHIN_S
        dismissed: set[str] = set()
        wanted = sum(1 for _ in self._cast.all_parts())
        while not self._stop.is_set():
            self._tend(console)
            counts = self._count()
            for user in self._surplus() - dismissed:
                dismissed.add(user)
                event = orjson.dumps({"command": "deregister", "user_id": user})
                self._publisher.send(self._topics.commands, user, event)
            if (
                counts.users == self._cast.everybody
                and counts.monitors == wanted
                and self._observer.watched_since(begun)
            ):
                return
            if self._clock.monotonic_s() > deadline_s:
                raise EverwatchError(
                    f"Only {counts.users} of {self._cast.everybody} users were registered within"
                    f" {REGISTERED_WITHIN_S:g} s; see the logs in {self._local.log_folder}."
                )
            self._stop.wait(0.2)

    def _surplus(self) -> set[str]:
        """Demo users of an earlier, larger demo, and its showcase where this one has none."""
        if self._reader is None or self._counts.users <= self._cast.everybody:
            return set()
        users = {stretch.user_id for stretch in self._reader.history() if stretch.until is None}
        surplus = {user for user in users if is_of_a_demo(user) and not self._takes_part(user)}
        return surplus if self._cast.showcase else surplus | (users & {SHOWCASE_USER})

    def _takes_part(self, user: str) -> bool:
        number = number_of(user)
        return number is not None and number < self._cast.users

    def _tend(self, console: Console) -> None:
        """Send the signals that are due and look after the processes."""
        for sentence in self._local.look_after():
            self._said.append(sentence)
            console.print(sentence, highlight=False)
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_signals_s:
            self._next_signals_s = now_s + SIGNALS_EVERY_S
            for user, signal_event in self._cast.signals():
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
        self._arrivals.look()
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
            arrived=self._arrivals.by,
            arrivals=self._arrivals.newest,
        )

    def _settle(self, console: Console, after: int, upto: int) -> tuple[Account, list[ShowpieceEnding], Counts]:
        """Settle the account once the last results are stored and every monitor is in the state it is meant to reach.

        Gives up waiting for that after ``ACCOUNT_WITHIN_S``. A monitor whose heartbeats or results come late on a busy
        machine is in another state for as long as that lasts.
        """
        begun_s = self._clock.monotonic_s()
        meant = Counter(part.health for part in self._cast.all_parts())
        said = False
        if self._reader is None:
            self._reader = open_reader(self._settings)
        while True:
            account = settle_account(self._reader, after, upto)
            monitors = self._reader.monitors(SHOWCASE_USER) if self._cast.showcase else []
            endings = judge(self._cast.showcase, monitors, self._observer.read_back)
            counts = self._count()
            seen = {health: counts.by_state.get(State(health.value), 0) for health in DemoState}
            # some were paused or deleted: their final states are not known
            is_altered = sum(seen.values()) + counts.by_state.get(State.NEW, 0) != meant.total()
            as_meant = is_altered or seen == {health: meant[health] for health in DemoState}
            settled = as_meant and not account.missed and not any(ending.problem for ending in endings)
            waited_s = self._clock.monotonic_s() - begun_s
            if settled or waited_s > ACCOUNT_WITHIN_S:
                return account, endings, counts
            if waited_s > SETTLING_SAID_AFTER_S and not said:
                said = True
                console.print(
                    f"Waiting up to {ACCOUNT_WITHIN_S:.0f} s for the last results (Ctrl-C to stop at once) …",
                    highlight=False,
                )
            self._tend(console)
            threading.Event().wait(0.3)


class _Silent:
    """Stands in for the live screen where there is none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
