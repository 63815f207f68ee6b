"""Idempotency keys of requests that no worker carries out: a key that comes again with another request is refused.

Each is one record of the topic ``jobs``, which every API process follows, under the key ``key/ID``. Workers remember
the keys of commands and signups by themselves.
"""

import logging
from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice

import msgspec

from everwatch.api.problems import Problem
from everwatch.api.read_back import has_read
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.core.errors import RefusalCode
from everwatch.kafka.consumed_record import Record

logger = logging.getLogger(__name__)
PREFIX = b"key/"
KEPT_MS = 7 * 86_400_000
MOST_KEPT = 100_000
"""Keys that are known at once; the oldest is forgotten for a new one."""
FORGOTTEN_AT_ONCE = 10


class UsedKey(msgspec.Struct, frozen=True):
    """A digest of the request that a key came with first, and when, ms."""

    digest: str
    at: int


_decoder = msgspec.json.Decoder(UsedKey)


class UsedKeys:
    """The keys that are known; taken in by the follower's thread, one step at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # the oldest first
        self._held: dict[bytes, UsedKey] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Take in the keys among records; of two requests with one key the first counts."""
        for record in records:
            name = record.key or b""
            if not name.startswith(PREFIX):
                continue
            if record.value is None:
                self._held.pop(name, None)
                continue
            try:
                found = _decoder.decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                logger.warning("%s, partition %d, offset %d: %s", record.topic, record.partition, record.offset, error)
                continue
            held = self._held.get(name)
            if held is not None and held.at + KEPT_MS > found.at:
                continue
            self._held.pop(name, None)
            self._held[name] = found
            if len(self._held) > MOST_KEPT:
                del self._held[next(iter(self._held))]

    async def claim(self, records: RecordSender, topic: str, user_id: str, key: str, digest: str) -> None:
        """Note that a request has this key, on the topic and here.

        ``user_id``: the one user that its token is limited to, "" for all. Raises Problem if the key was that of
        another request, BrokerUnavailable.
        """
        name = PREFIX + blake2b(f"{user_id}\0{key}".encode(), digest_size=16).hexdigest().encode()
        now = self._clock.now_ms()
        if self._known(name, now) is None:
            await self._forget_old(records, topic, now)
            await records.send(topic, name, msgspec.json.encode(UsedKey(digest, now)))
            await has_read(lambda: self._known(name, now) is not None)
        held = self._known(name, now)
        if held is not None and held.digest != digest:
            raise Problem(422, RefusalCode.REUSED_KEY, "This Idempotency-Key was that of another request.")

    def _known(self, name: bytes, now: int) -> UsedKey | None:
        held = self._held.get(name)
        return held if held is not None and held.at + KEPT_MS > now else None

    async def _forget_old(self, records: RecordSender, topic: str, now: int) -> None:
        """Delete some keys that were used too long ago."""
        # in one step of the interpreter: the follower's thread changes them
        for name, held in list(islice(self._held.items(), FORGOTTEN_AT_ONCE)):
            if held.at + KEPT_MS <= now:
                await records.send(topic, name, None)
