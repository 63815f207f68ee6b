"""The notifier as a process, killed at the steps that docs/notifications.md numbers: what it had to tell is told, once
by its id."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
from support.pipeline import Pipeline, every
from support.waiting import PATIENCE, wait_until

from everwatch.core.errors import StoreError
from everwatch.encoding import codec
from everwatch.notifier.storage import open_existing

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
RULES = """
[defaults]
group_wait = "1s"
group_interval = "0s"

[[operators]]
name = "hook"
webhook = {{ url = "http://127.0.0.1:{port}/" }}
"""


class Receiver(ThreadingHTTPServer):
    """Takes webhooks; while ``goes_on`` is not set it answers none."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, str]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.on_answer: dict[str, Callable[[], None]] = {}  # by the monitor that was told of
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def told(self, monitor_id: str) -> list[str]:
        """The ids of the messages that told of a monitor."""
        return [message_id for message_id, each in self.got if each == monitor_id]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        told = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        monitor_ids = [alert["monitor_id"] for alert in told["data"]["alerts"]]
        self.server.got += [(self.headers["webhook-id"], monitor_id) for monitor_id in monitor_ids]
        self.server.goes_on.wait(60 * PATIENCE)
        self.send_response(204)
        self.end_headers()
        for monitor_id in monitor_ids:
            self.server.on_answer.pop(monitor_id, lambda: None)()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.goes_on.set()
    server.shutdown()
    server.server_close()


def is_judged(pipeline: Pipeline, monitor_id: str) -> bool:
    """Whether the notifier has stored what becomes of the monitor's change."""
    try:
        with closing(open_existing(pipeline.settings)) as storage, storage.look() as work:
            return any(verdict for _, _, verdict in work.verdicts("u-1", monitor_id, 1))
    except StoreError:
        return False


def test_a_notifier_that_is_killed_at_any_step_tells_each_change_once_by_its_id(
    new_pipeline: Callable[[], Pipeline], receiver: Receiver
) -> None:
    pipeline = new_pipeline()
    rules = pipeline.settings.data_dir / "notify.toml"
    rules.write_text(RULES.format(port=receiver.server_port))
    pipeline.environment["EVERWATCH_NOTIFY_FILE"] = str(rules)
    pipeline.ensure("worker", "notifier")
    pipeline.wait_until_watched()
    wait_until("it has begun", lambda: "telling of" in pipeline.processes["notifier"].logged(), 60)
    steps = ("unread", "judged", "sending", "handed-over")
    pipeline.sign_up("u-1", *(every(step, "threshold", "1s", above=100) for step in steps))
    keys = {codec.table_key("u-1", step) for step in steps}
    changelog = pipeline.topics.monitors_changelog
    # a signal is refused as long as its monitor is not known
    wait_until("all are known", lambda: keys <= {record.key() for record in pipeline.read(changelog)}, 60)

    def goes_down(monitor_id: str) -> None:
        told = {"user_id": "u-1", "monitor_id": monitor_id, "value": 180}
        pipeline.send(pipeline.topics.signals, "u-1", told)

    def kill() -> None:
        pipeline.processes["notifier"].kill()

    # 1: nothing of it is read yet
    kill()
    goes_down("unread")
    pipeline.ensure("notifier")
    wait_until("what was unread is told", lambda: receiver.told("unread"), 60)
    # 3: its alert waits in a group
    goes_down("judged")
    wait_until("it is judged", lambda: is_judged(pipeline, "judged"), 60)
    kill()
    pipeline.ensure("notifier")
    wait_until("what was judged is told", lambda: receiver.told("judged"), 60)
    # 5: the attempt is under way
    receiver.goes_on.clear()
    goes_down("sending")
    wait_until("the attempt is under way", lambda: receiver.told("sending"), 60)
    kill()
    receiver.goes_on.set()
    pipeline.ensure("notifier")
    wait_until("what was in doubt is sent again", lambda: len(receiver.told("sending")) == 2, 60)
    # 6: the receiver has it, and how that ended may not be stored
    answered = threading.Event()

    def kill_after_answer() -> None:
        kill()
        answered.set()

    # of this message alone: the answer to the one before may still be under way
    receiver.on_answer["handed-over"] = kill_after_answer
    goes_down("handed-over")
    wait_until("it was killed", answered.is_set, 60)
    pipeline.ensure("notifier")
    with closing(open_existing(pipeline.settings)) as storage:

        def is_settled() -> bool:
            with storage.look() as work:
                return {each.state for each in work.list_deliveries("", "", "", 0, 100)} == {"sent"}

        wait_until("all is sent", is_settled, 60)
    for step in steps:
        assert len(set(receiver.told(step))) == 1, step
        assert len(receiver.told(step)) <= 2, step
    assert pipeline.processes["notifier"].stop() == 0
