"""One user with every kind there is: a monitor of each that is fine, and one that is broken on purpose.

To show a kind more is to add it to ``showcase``; ``judge`` says whether all ended as they should.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from everwatch.demo.certificates import EXPIRED_NAME, HEALTHY_NAME
from everwatch.demo.ports import HOST, DemoPorts
from everwatch.demo.target import HOOK_SECRET, RIGHT_ADDRESS, WRONG_ADDRESS
from everwatch.kinds.registry import known_kinds
from everwatch.model import Json, Monitor, State

SHOWCASE_USER = "showcase"
EVERY = "2s"
_OTHER_SECRET = "whsec_bm90LXRoZS1zZWNyZXQtb2YtdGhlLXJlY2VpdmVy"  # noqa: S105  (wrong on purpose)


class DemoState(StrEnum):
    """Intended final state of a demo monitor."""

    UP = "up"
    DOWN = "down"
    LATE = "late"


class Showpiece(NamedTuple):
    """One monitor. ``says``: what its reason must contain. ``signal``: what the demo reports for it each second."""

    kind: str
    health: DemoState
    config: Json
    says: str = ""
    signal: Json | None = None

    @property
    def monitor_id(self) -> str:
        """The kind, and how it is meant to be: ``tls-failing``."""
        return f"{self.kind}-{'healthy' if self.health is DemoState.UP else 'failing'}"

    @property
    def spec(self) -> Json:
        """The monitor as a signup has it."""
        spec = {
            "monitor_id": self.monitor_id,
            "kind": self.kind,
            "config": self.config,
            "schedule": {"every": EVERY},
        }
        return spec | ({"payload": {"name": "Ada"}} if self.kind in ("webhook", "publish") else {})


def showcase(ports: DemoPorts, topic: str) -> list[Showpiece]:
    """Every monitor of the showcase; ``topic`` is the one that executors may publish to."""
    web = f"http://{HOST}:{ports.web}"
    tls = {"host": HOST, "port": ports.tls}
    dns = {"server": f"{HOST}:{ports.dns}", "answers_are": [RIGHT_ADDRESS]}
    orders = {"callable": "showcase_orders"}
    greeting = {"text": "Happy birthday, {{payload.name}}!"}
    up, down, late = DemoState.UP, DemoState.DOWN, DemoState.LATE
    pieces = [
        Showpiece("http", up, {"url": f"{web}/ok/showcase", "body_contains": "well"}),
        Showpiece("http", down, {"url": f"{web}/broken/showcase"}, "status 500, expected 200-299"),
        Showpiece("tcp", up, {"host": HOST, "port": ports.web}),
        Showpiece("tcp", down, {"host": HOST, "port": ports.dead}, "refused"),
        Showpiece("dns", up, {"name": "shop.demo.example", **dns}),
        Showpiece("dns", down, {"name": "hijacked.demo.example", **dns}, f"found: '{WRONG_ADDRESS}'"),
        Showpiece("tls", up, {"server_name": HEALTHY_NAME, **tls}),
        Showpiece("tls", down, {"server_name": EXPIRED_NAME, **tls}, "certificate has expired"),
        Showpiece("webhook", up, {"url": f"{web}/hooks", "secret": HOOK_SECRET}),
        Showpiece("webhook", down, {"url": f"{web}/hooks", "secret": _OTHER_SECRET}, "status 401"),
        Showpiece("publish", up, {"topic": topic, "template": greeting}),
        Showpiece("publish", down, {"topic": "payroll", "template": greeting}, "topic payroll is not allowed"),
        Showpiece("python", up, {**orders, "arguments": {"waiting": 3, "most": 5}}),
        Showpiece("python", down, {**orders, "arguments": {"waiting": 7, "most": 5}}, "7 orders wait"),
        Showpiece("heartbeat", up, {"period": "4s", "grace": "16s"}, signal={}),
        Showpiece("heartbeat", late, {"period": "2s", "grace": "1s"}, "no heartbeat"),
        Showpiece("threshold", up, {"above": 100}, signal={"value": 42}),
        Showpiece("threshold", down, {"above": 100}, "180", signal={"value": 180}),
        Showpiece("noop", up, {}),  # it has no way to fail
    ]
    known = known_kinds()
    return [piece for piece in pieces if piece.kind in known]


class ShowpieceEnding(NamedTuple):
    """Final state and reason of the monitors of one kind, and the problem with it ("" for none)."""

    kind: str
    healthy: tuple[str, str]
    failing: tuple[str, str] | None
    problem: str

    def as_json(self) -> Json:
        """The ending with names."""
        told = {
            name: {"state": seen[0], "message": seen[1]} if seen else None
            for name, seen in (("healthy", self.healthy), ("failing", self.failing))
        }
        return {"kind": self.kind, **told, "as_expected": not self.problem, "problem": self.problem}


def judge(pieces: Iterable[Showpiece], monitors: Iterable[Monitor], read_back: int) -> list[ShowpieceEnding]:
    """Return how each kind ended; ``read_back``: how many events of the kind ``publish`` were found on their topic."""
    found = {monitor.monitor_id: monitor for monitor in monitors}
    of_kind: dict[str, list[Showpiece]] = {}
    for piece in pieces:
        of_kind.setdefault(piece.kind, []).append(piece)
    endings = []
    for kind, both in of_kind.items():
        seen = [_seen(found.get(piece.monitor_id)) for piece in both]
        problem = "; ".join(filter(None, map(_problem, both, seen)))
        if kind == "publish":
            seen[0] = (seen[0][0], f"{read_back} events read back from the topic")
            if not read_back:
                problem = "; ".join(filter(None, ["publish-healthy has put nothing on its topic", problem]))
        endings.append(ShowpieceEnding(kind, seen[0], seen[1] if len(seen) > 1 else None, problem))
    return endings


def _seen(monitor: Monitor | None) -> tuple[str, str]:
    return (State.NEW.value, "") if monitor is None else (monitor.state.value, monitor.reason)


def _problem(piece: Showpiece, seen: tuple[str, str]) -> str:
    state, reason = seen
    if state != piece.health.value:
        because = f" ({reason})" if reason else ""
        return f"{piece.monitor_id} is {state}{because} and should be {piece.health}"
    if piece.says not in reason:
        return f"{piece.monitor_id} says {reason!r} and should say {piece.says!r}"
    return ""
