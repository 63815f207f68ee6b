"""Monitors that exist while mutants come, and inputs about them: right ones, and ones wrong within their types.

What is random comes from the caller's generator, so the same seed gives the same inputs.
"""

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

USERS = 48
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# bounds as docs/architecture.md states them
LATEST_MS = 253_402_300_799_999
LONGEST_MS = 400 * DAY_MS
REGIONS = ("eu", "us")
# results, signals and commands are spread over so much time from the first one on, within what a clock may be ahead
_SPAN_MS = 50_000
_CHECK = {"kind": "http", "config": {"url": "http://127.0.0.1:1/"}}
_NOOP = {"kind": "noop", "config": {}}
_HOURLY = {"schedule": {"every": "1h"}}
# retries that come soon enough to be seen, and ones that never do
_RETRIED = {"retries": {"max": 3, "base": "1s"}}
_PATIENT = {"retries": {"max": 20, "backoff": "exponential", "base": "1d", "cap": "7d", "jitter": 1}}

MONITORS: dict[str, dict[str, Any]] = {
    "retried": _NOOP | _HOURLY | {"policy": _RETRIED},
    "patient": _NOOP | {"schedule": {"every": "400d"}, "policy": _PATIENT | {"failures_to_down": 3}},
    "reminded": _NOOP | _HOURLY | {"policy": {"remind_every": "60s", "overlap": "allow", "misfire": "fire_all"}},
    "bounded": _NOOP | {"schedule": {"every": "1h", "max_runs": 3}, "policy": _RETRIED},
    "nightly": _NOOP | {"schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "spread": "1d"}},
    "task": _NOOP | {"schedule": {"in": "2h"}, "policy": _RETRIED},
    "regional": _CHECK | _HOURLY | {"policy": _RETRIED | {"regions": list(REGIONS), "quorum": "all"}},
    "majority": _CHECK | _HOURLY | {"policy": {"regions": list(REGIONS), "quorum": "majority"}},
    "beat": {"kind": "heartbeat", "config": {"period": "1h", "max_duration": "1h"}},
    "job": {"kind": "heartbeat", "config": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}},
    "level": {"kind": "threshold", "config": {"above": 10.5, "clear": 5, "for": "400d"}},
    "floor": {"kind": "threshold", "config": {"below": -1e308}, "policy": {"remind_every": "30d"}},
}
_EXECUTED = tuple(name for name, monitor in MONITORS.items() if monitor["kind"] in ("noop", "http"))
_SIGNALLED = tuple(name for name, monitor in MONITORS.items() if monitor["kind"] in ("heartbeat", "threshold"))

_INTEGERS = (0, 1, 2, 3, 20, 21, 99, -1, 2**31 - 1, 2**31, 2**53, 2**62, 2**63 - 1, LATEST_MS, LATEST_MS + 1)
_FLOATS = (0.0, -0.0, 5e-324, 1.0, 59_999.0, float(LONGEST_MS), LONGEST_MS + 1.0, 1e300, 1.8e308, -1.0)
_TEXTS = ("", "x", "y" * 60, "y" * 128, "é" * 64, "\t", "\u202e", "\0", "%s", "{{user.size}}")


class Standing(NamedTuple):
    """A user who is signed up before any mutant comes, and its partition."""

    user_id: str
    partition: int


def standing_users(partitions: int) -> Iterator[Standing]:
    """Users with ``MONITORS``: an even number on each partition, so that each has some that commands change."""
    for number in range(USERS):
        yield Standing(f"standing-{number}", number % partitions)


def standing_signup(user: Standing) -> dict[str, Any]:
    """The signup of one."""
    monitors = [{"monitor_id": name, **monitor} for name, monitor in MONITORS.items()]
    return {"user_id": user.user_id, "attributes": {"size": 3}, "monitors": monitors}


def is_left_alone(user: Standing, partitions: int) -> bool:
    """Tell whether commands do not change this one's monitors: their versions stay 1, so that results count."""
    return int(user.user_id.rpartition("-")[2]) // partitions % 2 == 0


class StandingInputs:
    """Inputs about monitors that exist, of roles result, signal and command; ``share``: how far the mutants are."""

    def __init__(self, roll: random.Random, now_ms: int, partitions: int) -> None:
        self._random = roll
        self._now_ms = now_ms
        users = list(standing_users(partitions))
        self._steady = [user for user in users if is_left_alone(user, partitions)]
        self._changing = [user for user in users if not is_left_alone(user, partitions)]
        # the last instant and attempt of a monitor's results
        self._runs: dict[tuple[str, str], tuple[int, int]] = {}

    def record(self, role: str, share: float) -> tuple[Standing, dict[str, Any]]:
        """A user and a right input about one of its monitors."""
        roll = self._random
        mostly, rarely = (self._changing, self._steady) if role == "command" else (self._steady, self._changing)
        # commands change only the monitors that they may
        user = roll.choice(mostly if role == "command" or roll.random() < 0.9 else rarely)
        now = self._now_ms + int(_SPAN_MS * share)
        match role:
            case "result":
                return user, self._result(user.user_id, roll.choice(_EXECUTED), now)
            case "signal":
                return user, self._signal(user.user_id, roll.choice(_SIGNALLED), now)
            case _:
                return user, self._command(user.user_id, roll.choice(tuple(MONITORS)))

    def _result(self, user_id: str, monitor_id: str, now: int) -> dict[str, Any]:
        roll = self._random
        monitor = MONITORS[monitor_id]
        before, attempt = self._runs.get((user_id, monitor_id), (0, 0))
        # the next attempt at the same instant, or the next instant
        at, attempt = (before, attempt + 1) if before and roll.random() < 0.4 else (now, 1)
        self._runs[user_id, monitor_id] = at, attempt
        return {
            "user_id": user_id,
            "monitor_id": monitor_id,
            "scheduled_at": at,
            "kind": monitor["kind"],
            "version": 1,
            "status": roll.choice(("success", "failure", "failure", "failure", "skipped")),
            "reason": roll.choice(("", "it answered 500")),
            "started_at": at + 100,
            "duration_ms": 1.5,
            "attempt": attempt,
            "timings": {"total": 1.5},
            "executor": "x",
            "skipped_until": 0,
            "skipped_count": 0,
            "manual": False,
            "detail": "",
            "unreached": 0,
            "region": roll.choice(REGIONS) if "regions" in monitor.get("policy", {}) else "",
        }

    def _signal(self, user_id: str, monitor_id: str, now: int) -> dict[str, Any]:
        roll = self._random
        record: dict[str, Any] = {"user_id": user_id, "monitor_id": monitor_id}
        some: dict[str, Any] = {
            "at": now - roll.choice((0, 1, HOUR_MS, 30 * DAY_MS)),
            "signal_id": roll.choice(("s1", "s" * 128)),
        }
        if MONITORS[monitor_id]["kind"] == "threshold":
            record["value"] = roll.choice((1.5, 11.0, 1e308, -1.5e308, 0.0))
        else:
            record["type"] = roll.choice(("success", "start", "fail", "log"))
            some["run"] = roll.choice(("r", "q", "é" * 60))
            if record["type"] in ("success", "fail"):
                some["duration_ms"] = roll.choice((0.0, 1.0, float(LONGEST_MS)))
                some["exit_code"] = 0 if record["type"] == "success" else roll.choice((1, -(2**31)))
            if record["type"] == "log":
                record["body"] = "x" * roll.choice((1, 3_000))
        return record | {name: value for name, value in some.items() if roll.random() < 0.3}

    def _command(self, user_id: str, monitor_id: str) -> dict[str, Any]:
        roll = self._random
        name = roll.choice(("put", "put", "pause", "resume", "run_now", "delete", "maintain", "pause_user", "set_user"))
        record: dict[str, Any] = {"command": name, "user_id": user_id, "command_id": f"c-{roll.randrange(10**6)}"}
        match name:
            case "put":
                # the same with another schedule or policy; versions count on
                other = MONITORS[monitor_id] | {"monitor_id": monitor_id, "policy": {"failures_to_down": 2}}
                record["monitor"] = other
            case "maintain":
                record["maintenance"] = [{"start": self._now_ms, "end": self._now_ms + roll.choice((1, HOUR_MS))}]
            case "set_user":
                record["attributes"] = {"size": roll.choice((0, 3, 2**62))}
            case "pause_user":
                record["until"] = self._now_ms + roll.choice((120_000, HOUR_MS))
            case _:
                record["monitor_id"] = monitor_id
                if name == "pause":
                    record["until"] = self._now_ms + roll.choice((120_000, HOUR_MS))
        return record


def wrong_within_types(roll: random.Random, record: dict[str, Any]) -> dict[str, Any]:
    """The record with one or two values that are others of the same type; it still names the same monitor."""
    record = json.loads(json.dumps(record))
    for _ in range(roll.choice((1, 1, 1, 2))):
        holder, name = roll.choice([place for place in _values(record) if place[1] not in _KEPT])
        holder[name] = _other(roll, name, holder[name])
    return record


_KEPT = ("user_id", "monitor_id", "command", "kind")
# texts that are one of a few
_CHOICES = {"status": ("success", "failure", "late", "skipped"), "type": ("success", "start", "fail", "log")}


def _other(roll: random.Random, name: str, value: object) -> object:
    match value:
        case bool():
            return not value
        case int():
            ahead = roll.choice((1, -1, 59_000, 61_000, 2 * HOUR_MS, 400 * DAY_MS, -(10**10)))
            return roll.choice((value + ahead, roll.choice(_INTEGERS)))
        case float():
            return roll.choice(_FLOATS)
        case str():
            return roll.choice(_CHOICES.get(name, _TEXTS))
        case _:
            return value


def _values(node: object) -> Iterator[tuple[Any, Any]]:
    """Every place of a document that holds no further ones."""
    if isinstance(node, dict | list):
        for name in node if isinstance(node, dict) else range(len(node)):
            if isinstance(node[name], dict | list):
                yield from _values(node[name])
            else:
                yield node, name


def is_beyond(role: str, record: dict[str, Any], now_ms: int) -> bool:
    """Whether a result or a signal lies outside what docs/architecture.md says of instants, durations and counts.

    Whoever reads it refuses it, whatever becomes of the monitor: what is from the future is so by two hours here.
    """
    ahead = now_ms + 2 * HOUR_MS
    if role == "signal":
        return not 0 <= record.get("at", 0) <= ahead
    if role != "result":
        return False
    instants = (record["scheduled_at"], record["skipped_until"])
    return (
        not all(0 <= each <= ahead for each in instants)
        or not 0 <= record["started_at"] <= LATEST_MS
        or not 0 <= record["duration_ms"] <= LONGEST_MS
        or not all(0 <= record[name] < 2**31 for name in ("version", "attempt"))
        or not 0 <= record["unreached"] <= 100
    )
