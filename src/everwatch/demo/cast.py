"""Who takes part: made-up users, each with monitors, some of them broken on purpose."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import orjson

from everwatch.model import Json


class Mix(StrEnum):
    """Which monitors a demo user gets."""

    ALL = "all"
    HTTP = "http"


class Health(StrEnum):
    """What a demo monitor is meant to end as."""

    UP = "up"
    DOWN = "down"
    LATE = "late"


class Part(NamedTuple):
    """One monitor of one demo user."""

    user_id: str
    monitor_id: str
    health: Health
    spec: Json


@dataclass(frozen=True)
class Cast:
    """All demo users and their monitors. ``dead_port`` is a port where nothing listens."""

    users: int
    mix: Mix
    every: str
    target_port: int
    dead_port: int
    heartbeat_period_s: int = 4
    heartbeat_grace_s: int = 3

    def user_ids(self) -> list[str]:
        """The ids of all users."""
        return [user_id(number) for number in range(self.users)]

    def parts(self, number: int) -> Iterator[Part]:
        """The monitors of one user: one in ten has a broken site, one in twelve a closed port, one in fifteen a
        silent job."""
        user = user_id(number)
        broken = self.mix is Mix.ALL and number % 10 == 3
        yield self._part(
            user,
            "site",
            "http",
            Health.DOWN if broken else Health.UP,
            {"url": f"http://127.0.0.1:{self.target_port}/{'broken' if broken else 'ok'}/{user}"},
        )
        if self.mix is Mix.HTTP:
            return
        closed = number % 12 == 5
        yield self._part(
            user,
            "port",
            "tcp",
            Health.DOWN if closed else Health.UP,
            {"host": "127.0.0.1", "port": self.dead_port if closed else self.target_port},
        )
        yield self._part(
            user,
            "job",
            "heartbeat",
            Health.LATE if is_silent(number) else Health.UP,
            {"period": f"{self.heartbeat_period_s}s", "grace": f"{self.heartbeat_grace_s}s"},
        )

    def all_parts(self) -> Iterator[Part]:
        """Every monitor of every user."""
        for number in range(self.users):
            yield from self.parts(number)

    def signups(self) -> Iterator[tuple[str, bytes]]:
        """Each user's id and signup event, as JSON."""
        for number in range(self.users):
            user = user_id(number)
            event = {
                "user_id": user,
                "plan": "demo",
                "attributes": {"number": number},
                "monitors": [part.spec for part in self.parts(number)],
            }
            yield user, orjson.dumps(event)

    def heartbeats(self) -> Iterator[tuple[str, bytes]]:
        """A heartbeat of each job that is not silent: the user's id and the signal, as JSON."""
        if self.mix is Mix.ALL:
            for number in range(self.users):
                if not is_silent(number):
                    user = user_id(number)
                    yield user, orjson.dumps({"user_id": user, "monitor_id": "job"})

    def _part(self, user: str, monitor_id: str, kind: str, health: Health, config: Json) -> Part:
        every = "2s" if kind == "heartbeat" else self.every
        spec = {"monitor_id": monitor_id, "kind": kind, "config": config, "schedule": {"every": every}}
        return Part(user, monitor_id, health, spec)


def user_id(number: int) -> str:
    """The id of the demo user with this number."""
    return f"demo-{number:05d}"


def number_of(user: str) -> int | None:
    """The number of a demo user, None for anybody else."""
    digits = user.removeprefix("demo-")
    return int(digits) if digits != user and digits.isdigit() else None


def is_silent(number: int) -> bool:
    """Whether the job of the demo user with this number sends no heartbeats, on purpose."""
    return number % 15 == 7
