"""The users of a bench: what they sign up for, on which partition they live, and when their monitors are due.

All of it is derived from numbers, so each process derives the same without communication.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson

from everwatch.encoding import codec
from everwatch.model import Every
from everwatch.schedule.every import due_between, phase_of

MINUTE_MS = 60_000
PORT = 9
_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_PRIME = 1_000_003
_NONE = range(0)


@dataclass(frozen=True)
class Recurring:
    """A monitor that is due every ``interval_ms``, at a phase that its key decides."""

    monitor_id: str
    interval_ms: int

    @property
    def schedule(self) -> dict[str, object]:
        """As a signup has it."""
        return {"every": f"{self.interval_ms // 1000}s"}


@dataclass(frozen=True)
class EveryMinute:
    """A monitor with a cron schedule that is due at each full minute (UTC)."""

    monitor_id: str

    @property
    def schedule(self) -> dict[str, object]:
        """As a signup has it."""
        return {"cron": "* * * * *", "timezone": "UTC"}


@dataclass(frozen=True)
class Once:
    """A delayed task: due at one instant of [``from_ms``, ``from_ms + over_ms``), which the user's number decides."""

    monitor_id: str
    from_ms: int
    over_ms: int
    salt: int = 0

    @property
    def schedule(self) -> dict[str, object]:
        """As a signup has it, with a placeholder for the instant."""
        return {"at": "@"}

    def instant(self, number: int) -> int:
        """Instant at which it is due for the user of this number."""
        return self.from_ms + (number * _PRIME + self.salt * 7919) % self.over_ms


Item = Recurring | EveryMinute | Once


@dataclass(frozen=True)
class Population:
    """``users`` users, numbered from ``first``, with the same monitors each (``items``). Their ticks are not run."""

    items: tuple[Item, ...]
    users: int
    first: int = 0
    prefix: str = "user"
    kind: str = "tcp"
    misfire: str = ""

    @property
    def monitors(self) -> int:
        """Number of monitors of all users."""
        return self.users * len(self.items)

    @property
    def rate(self) -> float:
        """Ticks a second of the recurring monitors."""
        each = sum(1000 / item.interval_ms for item in self.items if isinstance(item, Recurring))
        return self.users * (each + sum(isinstance(item, EveryMinute) for item in self.items) / 60)

    @property
    def numbers(self) -> range:
        """The users' numbers."""
        return range(self.first, self.first + self.users)

    def user_id(self, number: int) -> str:
        """The id of the user with this number."""
        return f"{self.prefix}-{number:08d}"

    def number_of(self, key: bytes) -> int:
        """The number of the user with this record key, or -1."""
        prefix, _, digits = key.rpartition(b"-")
        if prefix.decode(errors="replace") != self.prefix or not digits.isdigit():
            return -1
        number = int(digits)
        return number if number in self.numbers else -1

    def signups(self, port: int = PORT) -> Iterator[tuple[bytes, bytes]]:
        """Key and JSON value of each user's signup, with ``port`` in the monitors' config."""
        made = _template(self, port)
        onces = [item for item in self.items if isinstance(item, Once)]
        for number in self.numbers:
            user = self.user_id(number)
            yield user.encode(), (made % (user, *(item.instant(number) for item in onces))).encode()

    def due(self, item: Item, number: int, phase_ms: int, after: int, upto: int) -> range:
        """Due instants of the user's monitor: after < instant <= upto."""
        if isinstance(item, Once):
            instant = item.instant(number)
            return range(instant, instant + 1) if after < instant <= upto else _NONE
        interval_ms = item.interval_ms if isinstance(item, Recurring) else MINUTE_MS
        return due_between(Every(interval_ms), phase_ms, after, upto)

    def phase(self, item: Item, user_id: str) -> int:
        """The phase, in ms, at which the user's monitor is due; 0 where there is none."""
        if not isinstance(item, Recurring):
            return 0
        return phase_of(codec.table_key(user_id, item.monitor_id), Every(item.interval_ms))

    def part(self, first: int, users: int) -> "Population":
        """Some of the users, by their numbers."""
        return replace(self, first=first, users=users)


def _template(population: Population, port: int) -> str:
    config: dict[str, object] = {"host": "127.0.0.1", "port": port}
    if population.kind == "heartbeat":
        config = {"period": "400d"}
    policy: dict[str, object] = {"policy": {"misfire": population.misfire}} if population.misfire else {}
    monitors = [
        {"monitor_id": item.monitor_id, "kind": population.kind, "config": config, "schedule": item.schedule} | policy
        for item in population.items
    ]
    event = orjson.dumps({"user_id": "%s", "monitors": monitors}).decode()
    return event.replace('"@"', "%d")


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Java's default partitioner, and librdkafka's murmur2_random, choose for a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The hash of Kafka's ``Utils.murmur2``, unsigned."""
    length = len(data)
    whole = length & ~3
    number = (0x9747B28C ^ length) & _MASK
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        mixed = word * _M & _MASK
        number = (number * _M & _MASK) ^ ((mixed ^ mixed >> 24) * _M & _MASK)
    if rest := data[whole:]:
        number = (number ^ int.from_bytes(rest, "little")) * _M & _MASK
    number = (number ^ number >> 13) * _M & _MASK
    return number ^ number >> 15
