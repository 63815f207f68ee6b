"""Users with http monitors, a reader of their results, and the processes of an executor."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from bench.producing import Records
from bench.rig import Rig
from bench.worker import Worker
from everwatch.encoding import codec
from everwatch.model import Result

AT_ONCE = 500


@dataclass(frozen=True)
class HttpUsers:
    """``users`` users with ``monitors`` http monitors each, all of one ``url``, every ``interval_ms``."""

    prefix: str
    users: int
    url: str
    interval_ms: int = 10_000
    monitors: int = 1
    regions: tuple[str, ...] = ()

    def records(self) -> Records:
        """Keys and values of their signups."""
        schedule = {"every": f"{self.interval_ms}ms"}
        config = {"url": self.url}
        monitors = [
            {"monitor_id": f"site-{number}", "kind": "http", "config": config, "schedule": schedule}
            for number in range(self.monitors)
        ]
        if self.regions:
            monitors = [each | {"policy": {"regions": self.regions}} for each in monitors]
        for number in range(self.users):
            user = f"{self.prefix}-{number:05d}"
            yield user.encode(), orjson.dumps({"user_id": user, "monitors": monitors})


class Results:
    """Reader of the results topic: starts at its current end, and ``new`` yields the results since the last call."""

    def __init__(self, bench: Rig) -> None:
        self._bench = bench
        self._topic = bench.topics.results
        self._read_to = bench.ends(self._topic)

    def new(self) -> Iterator[Result]:
        """Yield the results since the last call, in offset order within each partition."""
        begin, self._read_to = self._read_to, self._bench.ends(self._topic)
        for _, record in self._bench.client.records(self._topic, begin, self._read_to):
            yield codec.decode_result(bytes(record.value))


def start(bench: Rig, *populations: HttpUsers) -> None:
    """Start a worker and register the users."""
    bench.start_worker("1")
    bench.wait_on_time()
    for users in populations:
        bench.say(f"signing up {users.users:,} users, {users.users * users.monitors:,} monitors")
        bench.publish(bench.topics.signups, users)
    bench.wait_taken_in(bench.topics.signups)
    bench.wait_on_time()


def process_ids(executor: Worker) -> set[int]:
    """Return the ids of all processes of an executor."""
    return {executor.process.pid, *(process.pid for process in executor.process.children(recursive=True))}
