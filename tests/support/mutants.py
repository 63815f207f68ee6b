"""Seeded mutants of inputs: records that are nearly right, and records that are nothing of the kind.

The same seed gives the same mutants. None names a target outside this machine: their kinds open no connection.
"""

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from everwatch.encoding import avro_schemas
from support.batches import CODECS
from support.standing_monitors import StandingInputs, is_beyond, wrong_within_types

HOSTILE_TEXTS = (
    "", " ", "\0", "a\0b", "\x01commands", "__everwatch", "written__", "\x7f", "\u202eevil", "\u200b", "\ufeff",
    "é" * 300, "x" * 257, "x" * 10_000, "../../etc", "'; DROP TABLE results; --", "{{ user.user_id }}", "%s%n",
    "\U0001f4a9", "null", "1e999",
)  # fmt: skip
HOSTILE_VALUES = (
    None, True, False, 0, -1, 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 1e300,
    -1e-300, 0.1, float("nan"), float("inf"), float("-inf"), [], {}, [[]], {"": None}, "x" * 600_000, *HOSTILE_TEXTS,
)  # fmt: skip
KINDS = (("noop", {}), ("heartbeat", {"period": "1h"}), ("threshold", {"above": 10.5}))
HOUR_MS = 3_600_000
# of a hundred mutants so many are sent as they should be
_UNTOUCHED = 5
_TO_STANDING = ("result", "signal", "command")


class Mutant(NamedTuple):
    """A record to send. ``hopeless``: nothing could take it for an input. ``untouched``: nothing is wrong with it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp_ms: int
    codec: str
    user_id: str
    hopeless: bool
    untouched: bool


class Mutator:
    """Makes mutants of one seed. ``now_ms``: from then on the users of ``standing_monitors`` are signed up."""

    def __init__(self, seed: str, now_ms: int, partitions: int) -> None:
        self._random = random.Random(seed)
        self._now_ms = now_ms
        self._partitions = partitions
        self._number = 0
        self._standing = StandingInputs(self._random, now_ms, partitions)

    def mutants(self, topic: str, role: str, count: int) -> Iterator[Mutant]:
        """So many mutants for a topic; ``role`` is what its records are: signup, command, signal, tick or result.

        Two of three results, signals and commands are about monitors that exist.
        """
        for number in range(count):
            is_standing = role in _TO_STANDING and self._random.randrange(3) > 0
            yield self._of_standing(topic, role, number / count) if is_standing else self._mutant(topic, role)

    def _of_standing(self, topic: str, role: str, share: float) -> Mutant:
        """One about a monitor that exists: most are wrong in what they say of it only."""
        roll = self._random
        user, record = self._standing.record(role, share)
        untouched = roll.randrange(100) < 3 * _UNTOUCHED
        is_mangled = not untouched and roll.random() < 0.15
        if not untouched and not is_mangled:
            record = wrong_within_types(roll, record)
        value = _avro_or_json(role, record) if roll.random() < 0.5 else _json(record)
        if is_mangled:
            value = self._mangled_json(record) if roll.random() < 0.5 else self._mangled_bytes(value)
        return Mutant(
            topic=topic,
            partition=user.partition,
            key=user.user_id.encode(),
            value=value,
            headers=[],
            timestamp_ms=self._now_ms if roll.random() < 0.8 else self._hostile_timestamp(),
            codec=roll.choice(tuple(CODECS)),
            user_id=user.user_id,
            hopeless=is_hopeless(role, value) or (not is_mangled and is_beyond(role, record, self._now_ms)),
            untouched=untouched,
        )

    def _mutant(self, topic: str, role: str) -> Mutant:
        roll = self._random
        self._number += 1
        user_id = f"mutant-{role}-{self._number}"
        record = self._seed(role, user_id)
        key: bytes | None = user_id.encode()
        timestamp_ms = self._now_ms
        headers: list[tuple[str, bytes | None]] = []
        untouched = roll.randrange(100) < _UNTOUCHED
        is_avro = role == "tick" or roll.random() < 0.5
        value: bytes | None = avro_schemas.encode(role, _for_avro(record)) if is_avro else _json(record)
        if not untouched:
            # most are wrong in one way, some in several
            for _ in range(roll.choice((1, 1, 1, 2, 4))):
                match roll.randrange(10):
                    case 0 | 1 | 2 | 3 if not is_avro:
                        value = self._mangled_json(record)
                    case 0 | 1 | 2 | 3 | 4 | 5:
                        value = self._mangled_bytes(value)
                    case 6:
                        key = self._hostile_key(key)
                    case 7:
                        timestamp_ms = self._hostile_timestamp()
                    case 8:
                        headers = self._hostile_headers()
                    case _:
                        value = roll.choice((None, b"", b"{}", b"[]", b"null", b"\0" * 100, roll.randbytes(200)))
        return Mutant(
            topic=topic,
            partition=roll.randrange(self._partitions),
            key=key,
            value=value,
            headers=headers,
            timestamp_ms=timestamp_ms,
            codec=roll.choice(tuple(CODECS)),
            user_id=user_id,
            hopeless=is_hopeless(role, value),
            untouched=untouched,
        )

    def _seed(self, role: str, user_id: str) -> dict[str, Any]:
        roll = self._random
        monitor_id = roll.choice(("m", "beat", "größe"))
        match role:
            case "signup":
                kind, config = roll.choice(
                    (("noop", {}), ("heartbeat", {"period": "1h"}), ("threshold", {"above": 10.5}))
                )
                monitor = {
                    "monitor_id": monitor_id,
                    "kind": kind,
                    "config": config,
                    "schedule": roll.choice(({"every": "1h"}, {"cron": "0 3 * * *"}, {"in": "2h"})),
                    "policy": {"timeout": "5s", "failures_to_down": 3},
                }
                return {"user_id": user_id, "attributes": {"team": "a", "size": 3}, "monitors": [monitor]}
            case "command":
                more = {"monitor_id": monitor_id, "command_id": f"c-{self._number}"}
                return {"command": roll.choice(("pause", "resume", "delete", "run_now")), "user_id": user_id, **more}
            case "signal":
                return {"user_id": user_id, "monitor_id": monitor_id, "value": roll.choice((None, 1.5))}
            case "tick":
                kind, config = roll.choice((("python", '{"callable":"nothing"}'), ("publish", '{"topic":"nowhere"}')))
                return {"monitor_id": monitor_id, "kind": kind, "config": config, "timeout_ms": 1_000, "version": 1}
            case _:
                return {
                    "user_id": user_id,
                    "monitor_id": monitor_id,
                    "scheduled_at": self._now_ms - 1_000,
                    "kind": "noop",
                    "version": 1,
                    "status": roll.choice(("success", "failure")),
                    "reason": "",
                    "started_at": self._now_ms - 900,
                    "duration_ms": 1.5,
                    "attempt": 1,
                    "timings": {"total": 1.0},
                    "executor": "x",
                }

    def _mangled_json(self, record: dict[str, Any]) -> bytes:
        roll = self._random
        record = json.loads(json.dumps(record))
        path = list(_paths(record))
        for _ in range(roll.choice((1, 1, 2))):
            holder, name = roll.choice(path)
            match roll.randrange(6):
                case 0:
                    _drop(holder, name)
                case 1 if isinstance(holder, dict):
                    holder[roll.choice(HOSTILE_TEXTS)] = roll.choice(HOSTILE_VALUES)
                case 2:
                    _put(holder, name, _nested(roll.choice((3, 60))))
                case _:
                    _put(holder, name, roll.choice(HOSTILE_VALUES))
        text = json.dumps(record, ensure_ascii=roll.random() < 0.5)
        match roll.randrange(12):
            case 0:
                text = "{" + '"user_id":"twice",' + text[1:]
            case 1:
                text = text.replace('"', '"\\ud800', 1)
            case 2:
                text = '{"user_id":' + "[" * roll.choice((500, 50_000))
            case 3:
                text += roll.choice(("}", " x", "\0", text))
        return text.encode(errors="surrogatepass")

    def _mangled_bytes(self, value: bytes | None) -> bytes:
        roll = self._random
        data = bytearray(value or b"\xc3\x01")
        at = roll.randrange(len(data) + 1)
        match roll.randrange(8):
            case 0:
                del data[at:]
            case 1 | 2:
                for _ in range(roll.choice((1, 1, 3, 8))):
                    if data:
                        data[roll.randrange(len(data))] ^= 1 << roll.randrange(8)
            case 3:
                # a length or a number that never ends, or is as large as they get
                data[at:at] = roll.choice((b"\xff" * 11, b"\xfe" + b"\xff" * 8 + b"\x01", b"\x80" * 20, b"\x01"))
            case 4:
                data[:2] = roll.choice((b"\xc3\x02", b"\0\0", b"\0\0\0\0\x07", b"PK", b"\xef\xbb\xbf{", b"C3"))
            case 5:
                data[at:at] = data[: roll.randrange(64)]
            case 6:
                data += roll.randbytes(roll.choice((1, 40)))
            case _:
                data[at : at + roll.randrange(16)] = roll.randbytes(roll.randrange(16))
        return bytes(data)

    def _hostile_key(self, key: bytes | None) -> bytes | None:
        roll = self._random
        keys = (
            None,
            b"",
            b"\0",
            b"\xff\xfe",
            b"__everwatch",
            b"someone-else",
            (key or b"") + b"\0m",
            roll.randbytes(40),
        )
        return roll.choice((*keys, b"k" * 700_000))

    def _hostile_timestamp(self) -> int:
        # what lies further ahead the broker refuses
        ahead = self._random.randrange(50 * 60_000)
        return self._random.choice((0, 1, 10**9, self._now_ms - 400 * 24 * HOUR_MS, self._now_ms + ahead))

    def _hostile_headers(self) -> list[tuple[str, bytes | None]]:
        roll = self._random
        some = roll.choice((1, 3, 100))
        return [
            (roll.choice(("", "reason", "source_topic", "x" * 300)), roll.choice((None, b"", b"\xff", b"v" * 2_000)))
            for _ in range(some)
        ]


def is_hopeless(role: str, value: bytes | None) -> bool:
    """Tell whether a value is certainly no input by Python's JSON; of Avro only the magic bytes are read."""
    if not value or value[:2] == b"\xc3\x01":
        return not value
    if role == "tick":
        return True
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return True
    return not isinstance(parsed, dict) or not isinstance(parsed.get("user_id"), str) or not parsed["user_id"]


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


def _avro_or_json(role: str, record: dict[str, Any]) -> bytes:
    """The record in Avro, or in JSON if the schema has no room for a value."""
    try:
        return avro_schemas.encode(role, _for_avro(record))
    except (ValueError, TypeError, OverflowError, KeyError):
        return _json(record)


def _for_avro(record: dict[str, Any]) -> dict[str, Any]:
    """A config is JSON text in Avro."""
    texts = {"config": json.dumps(record["config"])} if isinstance(record.get("config"), dict) else {}
    inner = {"monitors": [_for_avro(monitor) for monitor in record["monitors"]]} if "monitors" in record else {}
    return record | texts | inner


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


def _paths(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document, as its holder and its name there."""
    for name in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, name
        yield from _paths(node[name])


def _put(holder: Any, name: Any, value: Any) -> None:
    if isinstance(holder, dict) or name < len(holder):
        holder[name] = value


def _drop(holder: Any, name: Any) -> None:
    if isinstance(holder, dict):
        holder.pop(name, None)
    elif name < len(holder):
        del holder[name]
