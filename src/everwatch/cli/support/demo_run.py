"""One performance of ``everwatch demo``: signs its users up, watches, and settles the account."""

import threading
from collections import Counter

import orjson
from rich.console import Console
from rich.live import Live

from everwatch.cli.support.input_publisher import InputPublisher
from everwatch.cli.support.local_processes import Local
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, StoreError
from everwatch.demo.account import Account, settle_account
from everwatch.demo.cast import Cast
from everwatch.demo.companies import is_of_a_demo, number_of
from everwatch.demo.inbox import Arrivals
from everwatch.demo.observer import Observer
from everwatch.demo.showcase import SHOWCASE_USER, DemoState, ShowpieceEnding, judge
from everwatch.demo.view import Glance, draw, line
from everwatch.diagnosis import System
from everwatch.kafka.clients import KafkaClients
from everwatch.kafka.topics import Topics
from everwatch.model import State
from everwatch.operations.waiting_ticks import WaitingTicks
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.store.sql_reader import SqlReader, open_reader
from everwatch.store.stored_values import Counts

SIGNALS_EVERY_S = 1.0
REGISTERED_WITHIN_S = 180.0
PROGRESS_EVERY_S = 5.0
# progress is noted once a second, and read a little later
CAUGHT_UP_MS = 3_000
# a machine may be too busy for that: what was due before the signups is out by then
CAUGHT_UP_WITHIN_S = 30.0
# on a busy machine the last results take their time; after a moment a line says that the demo waits for them
ACCOUNT_WITHIN_S = 60.0
SETTLING_SAID_AFTER_S = 3.0
INBOX_FILE = "demo-inbox.jsonl"


class DemoRun:
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
        self._arrivals = Arrivals(settings.data_dir / INBOX_FILE)
        self._reader: SqlReader | None = None
        self._next_signals_s = 0.0
        self._are_heard = False
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
            "waiting": account.waiting,
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
        """Let go of topics and database."""
        self._observer.close()
        if self._reader is not None:
            self._reader.close()

    def _sign_up(self, console: Console) -> None:
        """Publish the signups; wait until a worker is there and the database holds these users and no others."""
        begun = self._clock.now_ms()
        console.print(f"Signing up {self._cast.users} users …", highlight=False)
        for user, event in self._cast.signups():
            self._publisher.send(self._topics.signups, user, event)
        self._publisher.finish()
        deadline_s = self._clock.monotonic_s() + REGISTERED_WITHIN_S
        dismissed: set[str] = set()
        wanted = sum(1 for _ in self._cast.all_parts())
        next_progress_s = self._clock.monotonic_s() + PROGRESS_EVERY_S
        ready_since_s: float | None = None
        while not self._stop.is_set():
            self._tend(console)
            counts = self._count()
            # a signal of a monitor that is not registered yet would be refused
            self._are_heard = self._are_heard or counts.monitors >= wanted
            if self._clock.monotonic_s() > next_progress_s:
                next_progress_s += PROGRESS_EVERY_S
                console.print(f"  {self._progress(counts, wanted)}", highlight=False)
            for user in self._surplus() - dismissed:
                dismissed.add(user)
                event = orjson.dumps({"command": "deregister", "user_id": user})
                self._publisher.send(self._topics.commands, user, event)
            is_known = counts.users == self._cast.everybody and counts.monitors == wanted
            if is_known and self._observer.watched_since(begun):
                now_s = self._clock.monotonic_s()
                ready_since_s = now_s if ready_since_s is None else ready_since_s
                is_patient = now_s - ready_since_s < CAUGHT_UP_WITHIN_S
                if not is_patient or self._observer.watched_since(max(begun, self._clock.now_ms() - CAUGHT_UP_MS)):
                    return
            if self._clock.monotonic_s() > deadline_s:
                raise EverwatchError(
                    f"Only {counts.users} of {self._cast.everybody} users were registered within"
                    f" {REGISTERED_WITHIN_S:g} s; see the logs in {self._local.log_folder}."
                )
            self._stop.wait(0.2)

    def _progress(self, counts: Counts, wanted: int) -> str:
        """One sentence on how far the sign-up has come."""
        if counts.users > self._cast.everybody:
            return f"{counts.users - self._cast.everybody} users of an earlier, larger demo are still to be removed"
        if (counts.users, counts.monitors) != (self._cast.everybody, wanted):
            return f"{counts.users} of {self._cast.everybody} users, {counts.monitors} of {wanted} monitors stored"
        return "all users are stored; the worker still catches up with what was due since the last run"

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
        if self._are_heard and now_s >= self._next_signals_s:
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
            # a person paused or deleted some: then the expected states are not known
            is_altered = sum(seen.values()) + counts.by_state.get(State.NEW, 0) != meant.total()
            as_meant = is_altered or seen == {health: meant[health] for health in DemoState}
            settled = as_meant and not account.missed and not any(ending.problem for ending in endings)
            waited_s = self._clock.monotonic_s() - begun_s
            if settled:
                return account, endings, counts
            if waited_s > ACCOUNT_WITHIN_S:
                return (
                    settle_account(self._reader, after, upto, self._waiting_ticks(self._reader).holds),
                    endings,
                    counts,
                )
            if waited_s > SETTLING_SAID_AFTER_S and not said:
                said = True
                console.print(
                    f"Waiting up to {ACCOUNT_WITHIN_S:.0f} s for the last results (Ctrl-C to stop at once) …",
                    highlight=False,
                )
            self._tend(console)
            threading.Event().wait(0.3)

    def _waiting_ticks(self, reader: SqlReader) -> WaitingTicks:
        system = System(self._settings, self._local.bootstrap_servers, self._clock)
        return WaitingTicks(self._topics, reader.partition_of, system.measure_lag)


class _Silent:
    """Stands in for the live screen where there is none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
