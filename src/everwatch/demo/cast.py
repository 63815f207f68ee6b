"""The demo's made-up users, each with monitors, some of them broken on purpose."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import orjson

from everwatch.demo.companies import Company, Watched, company
from everwatch.demo.ports import HOST, DemoPorts
from everwatch.demo.showcase import SHOWCASE_USER, DemoState, Showpiece, showcase
from everwatch.model import Json

PROVIDER = "till-cloud.localhost"
"""Host of the provider that is down for all of its customers."""


class Mix(StrEnum):
    """Choice of a demo user's monitors."""

    ALL = "all"
    HTTP = "http"


class Part(NamedTuple):
    """One monitor of one demo user."""

    user_id: str
    monitor_id: str
    health: DemoState
    spec: Json


@dataclass(frozen=True)
class Cast:
    """All demo users and their monitors; unless they have only http checks, one more user with every kind.

    ``topic``: what the kind ``publish`` may write to.
    """

    users: int
    mix: Mix
    every: str
    ports: DemoPorts
    topic: str = "demo-greetings"

    @cached_property
    def showcase(self) -> list[Showpiece]:
        """The monitors of the user with every kind; none where all users have http checks and nothing else."""
        return showcase(self.ports, self.topic) if self.mix is Mix.ALL else []

    @property
    def everybody(self) -> int:
        """Return how many users there are, with the one of the showcase."""
        return self.users + bool(self.showcase)

    def parts(self, number: int) -> Iterator[Part]:
        """The monitors of one user: one in ten has a broken site, one in fifteen a silent job, and one in nine uses a
        provider whose port is closed.

        Users have hosts of their own, names below ``localhost``. With http checks alone all are one address, so that
        looking names up costs nothing.
        """
        who = company(number)
        user, trade = who.user_id, who.trade
        host = HOST if self.mix is Mix.HTTP else f"{user}.localhost"
        broken = self.mix is Mix.ALL and number % 10 == 3
        yield self._part(
            who,
            trade.site,
            "http",
            DemoState.DOWN if broken else DemoState.UP,
            {"url": f"http://{host}:{self.ports.web}/{'broken' if broken else 'ok'}/{trade.site.monitor_id}"},
        )
        if self.mix is Mix.HTTP:
            return
        closed = number % 9 == 5
        yield self._part(
            who,
            trade.port,
            "tcp",
            DemoState.DOWN if closed else DemoState.UP,
            {"host": PROVIDER, "port": self.ports.dead}
            if closed
            else {"host": f"{trade.port.monitor_id}.{host}", "port": self.ports.web},
        )
        yield self._part(
            who,
            trade.job,
            "heartbeat",
            DemoState.LATE if is_silent(number) else DemoState.UP,
            # a signal comes each second: on a machine that is busy for some, the job is well anyway
            {"period": "4s", "grace": "3s"} if is_silent(number) else {"period": "4s", "grace": "16s"},
        )

    def all_parts(self) -> Iterator[Part]:
        """Every monitor of every user."""
        for number in range(self.users):
            yield from self.parts(number)
        for piece in self.showcase:
            yield Part(SHOWCASE_USER, piece.monitor_id, piece.health, piece.spec)

    def signups(self) -> Iterator[tuple[str, bytes]]:
        """Each user's id and signup event, as JSON."""
        for number in range(self.users):
            who = company(number)
            event = {
                "user_id": who.user_id,
                "plan": plan_of(number),
                "attributes": {
                    "name": who.name,
                    "city": who.city,
                    "country": who.country,
                    "email": f"alerts@{who.user_id}.example",
                },
                "monitors": [part.spec for part in self.parts(number)],
            }
            yield who.user_id, orjson.dumps(event)
        if self.showcase:
            event = {
                "user_id": SHOWCASE_USER,
                "plan": "enterprise",
                "attributes": {"name": "Every kind of monitor", "email": f"alerts@{SHOWCASE_USER}.example"},
                "monitors": [piece.spec for piece in self.showcase],
            }
            yield SHOWCASE_USER, orjson.dumps(event)

    def signals(self) -> Iterator[tuple[str, bytes]]:
        """Return what jobs that are not silent report each second: the user's id and the signal, as JSON."""
        if self.mix is Mix.ALL:
            for number in range(self.users):
                if not is_silent(number):
                    who = company(number)
                    told = {"user_id": who.user_id, "monitor_id": who.trade.job.monitor_id}
                    yield who.user_id, orjson.dumps(told)
        for piece in self.showcase:
            if piece.signal is not None:
                told = {"user_id": SHOWCASE_USER, "monitor_id": piece.monitor_id, **piece.signal}
                yield SHOWCASE_USER, orjson.dumps(told)

    def _part(self, who: Company, watched: Watched, kind: str, health: DemoState, config: Json) -> Part:
        spec = {
            "monitor_id": watched.monitor_id,
            "name": watched.name,
            "labels": {"trade": who.trade.word.lower(), "city": who.city, "country": who.country},
            "kind": kind,
            "config": config,
            "schedule": {"every": "2s" if kind == "heartbeat" else self.every},
        }
        return Part(who.user_id, watched.monitor_id, health, spec)


def plan_of(number: int) -> str:
    """The plan of the demo user with this number: most have the smallest."""
    return "enterprise" if number % 20 == 0 else "business" if number % 4 == 1 else "starter"


def is_silent(number: int) -> bool:
    """Tell whether the job of the demo user with this number sends no heartbeats, on purpose."""
    return number % 15 == 7
