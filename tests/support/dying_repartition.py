"""``everwatch repartition`` that kills itself at its next step.

``python -m support.dying_repartition COUNT DONE FILE``, with ``COUNT`` partitions for the new topics.

A step is the beginning of a stage, the first progress in it, and each instant before and after a commit or a change of
offsets. ``DONE`` has the steps that earlier runs were killed at, comma-separated. At the first other one this run
writes its name to ``FILE`` and ends by SIGKILL, so nothing of it cleans up. Where there is no other one, it ends with 0
when it has repartitioned.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

from confluent_kafka import Producer

from everwatch.backup.source_topics import SourceTopics
from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients, KafkaClients, new_admin
from everwatch.repartition.repartitioning import Repartitioning
from everwatch.repartition.surveying import survey
from everwatch.rules.generations import Generation, next_prefix

Kill = Callable[[str], None]


class Stages:
    """Kills at the beginning of a stage, and at the first progress in it."""

    def __init__(self, kill: Kill) -> None:
        self._kill = kill
        self._stage = ""

    def begin(self, what: str, total: int | None = None) -> None:
        """Begin a stage."""
        self._stage = what
        self._kill(f"begin {what}")

    def advance(self, steps: int) -> None:
        """Count steps."""
        self._kill(f"during {self._stage}")


class Around:
    """A client of Kafka that kills before and after some of its calls."""

    def __init__(self, client: object, calls: dict[str, str], kill: Kill) -> None:
        self._client = client
        self._calls = calls
        self._kill = kill

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        step = self._calls.get(name)
        if step is None:
            return call

        def killing(*arguments: object, **more: object) -> object:
            self._kill(f"before {step}")
            done = call(*arguments, **more)
            if isinstance(done, dict):
                for future in done.values():
                    future.result(60)
            self._kill(f"after {step}")
            return done

        return killing


class DyingClients(KafkaClients):
    """Clients whose producers of transactions kill around a commit."""

    def __init__(self, clients: Clients, kill: Kill) -> None:
        self._clients = clients
        self._kill = kill

    def producer(self, **overrides: object) -> Producer:
        return self._clients.producer(**overrides)

    def consumer(self, group_id: str, **overrides: object) -> Any:
        return self._clients.consumer(group_id, **overrides)

    def transactional_producer(self, transactional_id: str) -> Producer:
        producer = self._clients.transactional_producer(transactional_id)
        number = transactional_id.rpartition("-")[2]
        # of one old partition and of the new generation; the others are closed beside it
        calls = {"0": "closing", "repartition": "noting"}
        if number not in calls:
            return producer
        return cast(Producer, Around(producer, {"commit_transaction": calls[number]}, self._kill))


def main(count: int, done: set[str], file: Path) -> None:
    """Repartition, and die at the first step that is not among ``done``."""
    stage = ""

    def kill(step: str) -> None:
        nonlocal stage
        if step.startswith("begin "):
            stage = step.removeprefix("begin ")
        # the claim and the opening are both noted by one producer
        name = re.sub(r"[^\w.@ -]", "", f"{step} while {stage}" if step.endswith("noting") else step)
        if name not in done:
            file.write_text(name)
            die()

    settings = load_settings()
    address = settings.bootstrap_servers
    clients = DyingClients(KafkaClients(settings, address), kill)
    admin = cast(Admin, Around(new_admin(settings, address), {"alter_consumer_group_offsets": "forwarding"}, kill))
    stages, clock = Stages(kill), SystemClock()
    successor = Generation(next_prefix(settings.topic_prefix), count)
    source = SourceTopics(settings, clients, admin, clock)
    work = Repartitioning(settings, successor, clients, admin, clock, stages)
    found = survey(source, settings.partitions, None, clock, stages)
    if work.is_done():
        work.move_catalogue(found)
    else:
        work.run(found, lambda running: None)


def die() -> NoReturn:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it outlived SIGKILL")


if __name__ == "__main__":
    main(int(sys.argv[1]), set(sys.argv[2].split(",")), Path(sys.argv[3]))
