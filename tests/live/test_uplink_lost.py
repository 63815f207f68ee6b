"""Worker, executors and notifier as processes; one executor, in a network of its own, loses its uplink.

It keeps its connection to the broker, as an executor does whose proxy, gateway or name server is gone. The short
version, without a broker, is tests/unit/test_own_outage_in_a_network.py.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from support.network import NetworkBeside
from support.pipeline import PARTITIONS, Pipeline, Process
from support.waiting import wait_until

from everwatch.core.clock import SystemClock
from everwatch.encoding import codec
from everwatch.kafka.embedded.broker import EmbeddedKafka, EmbeddedKafkaSettings
from everwatch.model import State, Status
from everwatch.notifier.storage import open_existing

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("own_network")]
TARGETS = 60
"""Of each executor; of fewer than 50 it says nothing."""
RULES = """
[own_outage]
hold = "1m"

[[users]]
name = "own"
webhook = {{ url = "http://127.0.0.1:{port}/user" }}

[[operators]]
name = "ops"
webhook = {{ url = "http://127.0.0.1:{port}/ops" }}
"""


class Server(ThreadingHTTPServer):
    """Answers every GET, and remembers by path the headlines of the alerts that are posted, with their users."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0) -> None:
        super().__init__(("0.0.0.0", port), Handler)
        self.got: dict[str, list[tuple[str, str]]] = {"/user": [], "/ops": []}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        told = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        alerts = [(alert["user_id"], alert["headline"].partition(" (")[0]) for alert in told["data"]["alerts"]]
        print(self.path, alerts)
        self.server.got[self.path] += alerts
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def forward(listener: socket.socket, port: int) -> None:
    """Hand each connection on to ``port`` of this thread's network."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()

    while True:
        try:
            inner, _ = listener.accept()
        except OSError:
            return
        try:
            outer = socket.create_connection(("127.0.0.1", port))
        except OSError:
            inner.close()
            continue
        for pair in ((inner, outer), (outer, inner)):
            threading.Thread(target=copy, args=pair, daemon=True).start()


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A broker in this network."""
    with EmbeddedKafka(EmbeddedKafkaSettings(tmp_path / "kafka"), SystemClock()) as running:
        yield running


@pytest.mark.parametrize("others", [1, 0], ids=["one of two", "the last one"])
def test_an_executor_that_loses_its_uplink_is_named_to_operators_and_no_user_gets_an_alert_of_it(
    tmp_path: Path, kafka: EmbeddedKafka, others: int
) -> None:
    port = int(kafka.bootstrap_servers.rpartition(":")[2])
    with ExitStack() as stack:
        site = stack.enter_context(Server())
        beside = stack.enter_context(closing(NetworkBeside()))
        with beside.entered():
            stack.enter_context(Server(site.server_port))
            listener = stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=64))
        threading.Thread(target=forward, args=(listener, port), daemon=True).start()
        rules = tmp_path / "notify.toml"
        rules.write_text(RULES.format(port=site.server_port))
        pipeline = stack.enter_context(
            Pipeline(
                tmp_path,
                kafka.bootstrap_servers,
                "uplink.",
                allow_networks="127.0.0.0/8,198.18.0.0/15",
                notify_file=str(rules),
            )
        )
        pipeline.ensure("worker", "notifier")
        pipeline.wait_until_watched()
        wait_until("the notifier has begun", lambda: "telling of" in pipeline.processes["notifier"].logged(), 60)
        with beside.entered():
            north = Process("executor", pipeline.environment, tmp_path / "north.log")
        pipeline.processes["north"] = north
        name = f"{socket.gethostname()}-{north.pid}"
        for number in range(others):
            pipeline.ensure(f"executor-{number}")

        def check(user_id: str, url: str, partition: int) -> None:
            schedule = {"every": "15s"}
            monitor = {"monitor_id": "site", "kind": "http", "config": {"url": url}, "schedule": schedule}
            pipeline.sign_up(user_id, monitor, partition=partition)

        def found_by() -> dict[str, str]:
            """By user: which executor has found the target up last."""
            results = (codec.decode_result(record.value()) for record in pipeline.read(pipeline.topics.results))
            return {each.user_id: each.executor for each in results if each.status is Status.SUCCESS}

        def changed(to_state: State) -> set[str]:
            changes = (codec.decode_transition(record.value()) for record in pipeline.read(pipeline.topics.transitions))
            last = {each.user_id: each for each in changes}
            return {user_id for user_id, each in last.items() if each.to_state is to_state and each.executor == name}

        users = [f"u-{n}" for n in range(TARGETS * (1 + others))]
        for n, user_id in enumerate(users):
            check(user_id, f"http://198.18.0.{n + 1}:{site.server_port}/", n % PARTITIONS)

        def share() -> int:
            by = found_by()
            return sum(each == name for each in by.values()) if len(by) == len(users) else 0

        wait_until("all are up, and the executor has its share", lambda: share() >= 50, 120)
        by = found_by()
        its = {user_id for user_id in users if by[user_id] == name}
        beside.cut()
        if others:
            # what another executor finds is told meanwhile: nothing listens at this port
            theirs = next(n for n, user_id in enumerate(users) if by[user_id] != name)
            check("u-down", "http://198.18.1.1:9/", theirs % PARTITIONS)
        wait_until("all that it checks is down", lambda: len(changed(State.DOWN) & its) >= len(its) - 2, 180)
        wait_until("operators are told", lambda: site.got["/ops"], 120)
        if others:
            wait_until("the user of what is down is told", lambda: site.got["/user"], 120)
        beside.mend()
        wait_until("all is up again", lambda: len(changed(State.UP) & its) >= len(its) - 2, 180)
        wait_until("operators are told of the end", lambda: len(site.got["/ops"]) >= 2 + others, 180)

        def is_settled() -> bool:
            with closing(open_existing(pipeline.settings)) as storage, storage.look() as work:
                return not work.groups_to_flush(2**62, 1) and not work.due_deliveries(2**62, 1, ())

        wait_until("nothing waits any more", is_settled, 240)
        assert [headline for user_id, headline in site.got["/ops"] if not user_id] == [
            f"DOWN: executor {name}",
            f"Recovered: executor {name}",
        ]
        down = [("u-down", "DOWN: site")] * others
        assert [each for each in site.got["/ops"] if each[0]] == site.got["/user"] == down
        with closing(open_existing(pipeline.settings)) as storage, storage.look() as work:
            verdicts = {user_id: [verdict for _, _, verdict in work.verdicts(user_id, "site", 10)] for user_id in its}
        untold = [user_id for user_id in its if any("was doubted" in each for each in verdicts[user_id])]
        assert len(untold) >= len(its) - 2, verdicts
