"""A notifier that is killed again and again while it tells of changes, and two receivers.

One receiver answers at once and recognises messages by ``webhook-id``; the other, which recognises incidents by
``dedup_key``, may be away. Each incident must come to both, and to each under one id.
"""

import signal
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import orjson
from confluent_kafka import Message

from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import ensure_topics
from everwatch.model import State, Transition, User
from everwatch.notifier.notification_records import decode_notification
from everwatch.notifier.storage import open_existing
from support import forking
from support.forking import Program, Started
from support.pipeline import Pipeline
from support.waiting import now_ms, wait_until

TESTS = Path(__file__).parents[1]
RULES = """
[defaults]
group_wait = "0s"
group_interval = "0s"

[[operators]]
name = "hook"
continue = true
webhook = {{ url = "{hook_url}" }}

[[operators]]
name = "pager"
pagerduty = {{ routing_key = "trial", url = "{pager_url}" }}
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, receivers: "Receivers") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.receivers = receivers
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Receivers:
    """Both receivers, each a server of its own: a server that fails is left alone. While ``pager_is_away`` that one
    drops each connection."""

    def __init__(self) -> None:
        self.pager_is_away = True
        # by monitor: the ids under which the hook got the beginning of its incident
        self.hooked: defaultdict[str, set[str]] = defaultdict(set)
        # by id of a message to the hook: how many beginnings it counts and does not list, where they were too many
        self.unlisted: dict[str, int] = {}
        # by monitor and action: the keys under which the pager got it
        self.paged: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.came = 0
        self._servers = _Server(self), _Server(self)
        self.hook_url, self.pager_url = (
            f"http://127.0.0.1:{server.server_port}/{path}"
            for server, path in zip(self._servers, ("hook", "pager"), strict=True)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Takes messages of both."""

    server: _Server

    def do_POST(self) -> None:
        told = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        receivers = self.server.receivers
        if self.path == "/pager":
            if receivers.pager_is_away:
                self.close_connection = True
                return
            monitor_id = told["payload"]["component"] if "payload" in told else ""
            receivers.paged[monitor_id, told["event_action"]].add(told["dedup_key"])
        else:
            for alert in told["data"]["alerts"]:
                receivers.hooked[alert["monitor_id"]].add(self.headers["webhook-id"])
            receivers.unlisted[self.headers["webhook-id"]] = sum(told["data"]["more"].values())
        receivers.came += 1
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class KillTrial:
    """A notifier that is started again and again, and the changes that it must tell."""

    def __init__(self, pipeline: Pipeline, receivers: Receivers) -> None:
        self.pipeline, self.receivers = pipeline, receivers
        rules = pipeline.settings.data_dir / "notify.toml"
        rules.write_text(RULES.format(hook_url=receivers.hook_url, pager_url=receivers.pager_url))
        self._environment = pipeline.environment | {"EVERWATCH_NOTIFY_FILE": str(rules)}
        self._log = (pipeline.settings.data_dir / "notifier.log").open("ab")
        self.monitors: list[str] = []
        ensure_topics(new_admin(pipeline.settings, pipeline.settings.bootstrap_servers), pipeline.settings)
        self._users = [f"u-{n}" for n in range(8)]
        for user_id in self._users:
            user = User(user_id, "pro", {}, (), now_ms(), now_ms())
            self._send(pipeline.topics.monitors_changelog, codec.table_key(user_id), codec.encode_entry(user))
        # changes from before the first notifier began are not told
        process = self.start()
        try:
            wait_until("the first notifier has begun", lambda: "telling of" in self.log())
            process.terminate()
            assert process.wait(120) == 0
        finally:
            self._end(process)

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        self.pipeline.send(topic, key.decode(), value, partition=sum(key) % self.pipeline.settings.partitions)

    def go_down(self, count: int) -> None:
        """Let so many monitors go down that have not been down before."""
        for _ in range(count):
            number = len(self.monitors)
            self.monitors.append(f"m-{number}")
            change = Transition(
                self._users[number % len(self._users)],
                self.monitors[-1],
                now_ms(),
                State.UP,
                State.DOWN,
                reason="status 500",
                version=1,
                kind="threshold",
            )
            value = codec.encode_transition(change, OutputFormat.AVRO)
            self._send(self.pipeline.topics.transitions, codec.user_key(change.user_id), value)

    def start(self, step: str = "") -> Started:
        """Start a notifier that dies at ``step``."""
        program = Program("support.dying_notifier", [step], self._environment, str(TESTS), new_session=True)
        return forking.start(program, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log)

    def die_at(self, step: str, alive_s: float = 0) -> None:
        """Run a notifier until it dies at ``step``; "": it is killed ``alive_s`` after its start."""
        process = self.start(step)
        try:
            if not step:
                time.sleep(alive_s)
                process.kill()
            wait_until(f"the notifier dies at {step}", lambda: process.poll() is not None, 30, every_s=0.02)
            assert process.returncode == -signal.SIGKILL, self.log()
        finally:
            self._end(process)

    def tell_all(self) -> None:
        """Run a notifier until everything is told."""
        process = self.start()
        try:
            wait_until("the notifier has told all incidents", self._is_told, 200)
            assert process.poll() is None, self.log()
            process.terminate()
            assert process.wait(120) == 0
        finally:
            self._end(process)

    def _end(self, process: Started) -> None:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def _is_told(self) -> bool:
        wanted = set(self.monitors)
        paged = {monitor_id for monitor_id, _ in self.receivers.paged}
        if not wanted <= paged or self._hooked() < len(wanted):
            return False
        with closing(open_existing(self.pipeline.settings)) as storage, storage.look() as work:
            return (
                all(each.state in ("sent", "superseded") for each in work.list_deliveries("", "", "", 0, 100_000))
                and not work.groups_to_flush(2**62, 1)
                and not work.has_outcomes(2**62)
            )

    def _hooked(self) -> int:
        """Return the number of incidents that the hook's messages list or count."""
        return sum(map(len, self.receivers.hooked.values())) + sum(self.receivers.unlisted.values())

    def log(self) -> str:
        """Return what the notifiers have logged."""
        return (self.pipeline.settings.data_dir / "notifier.log").read_text()[-5_000:]

    def check(self) -> None:
        """Nothing is lost, and nothing came twice for who recognises it by its id."""
        assert self._hooked() == len(self.monitors)
        for monitor_id in self.monitors:
            hooked = self.receivers.hooked.get(monitor_id, set())
            assert len(hooked) == 1 or (not hooked and any(self.receivers.unlisted.values())), (monitor_id, hooked)
            assert len(self.receivers.paged[monitor_id, "trigger"]) == 1, monitor_id
        with closing(open_existing(self.pipeline.settings)) as storage, storage.look() as work:
            ended = {(each.delivery_id, each.state) for each in work.list_deliveries("", "", "", 0, 100_000)}
        published = [decode_notification(each.value() or b"") for each in self._published()]
        assert ended <= {(each.notification_id, each.state) for each in published}

    def _published(self) -> list[Message]:
        return self.pipeline.read(self.pipeline.topics.notifications)
