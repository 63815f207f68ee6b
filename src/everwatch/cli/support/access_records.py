"""Records of the topic ``access``: read as they are now, written and deleted."""

import asyncio

from everwatch.api.access import Access
from everwatch.api.logins import Logins
from everwatch.api.pinging import PingKeys
from everwatch.api.tokens import AccessRecord, Tokens, encoded, key_of
from everwatch.cli.support.input_publisher import InputPublisher
from everwatch.cli.support.options import clients_of, ready_broker
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.kafka.following import Follower, Start
from everwatch.kafka.topics import Topics

READ_WITHIN_S = 60.0


def stored_access(settings: Settings) -> Tokens:
    """Return tokens and operators as the topic holds them now. Raises BrokerUnavailable, AccessError."""
    settings, _ = ready_broker(settings)
    topic, clock = Topics.of(settings).access, SystemClock()
    tokens = Tokens(settings)
    access = Access(tokens, Logins(), PingKeys(), clock)
    follower = Follower(settings, clients_of(settings), clock, {topic: Start.BEGINNING}, access.take)
    try:
        follower.read_up(READ_WITHIN_S)
    finally:
        asyncio.run(follower.close())
    return tokens


def put_access(settings: Settings, record: AccessRecord) -> None:
    """Write a record, in place of the one with its key. Raises BrokerUnavailable, AccessError."""
    _send(settings, record, encoded(record))


def delete_access(settings: Settings, record: AccessRecord) -> None:
    """Delete a record. Raises BrokerUnavailable, AccessError."""
    _send(settings, record, None)


def _send(settings: Settings, record: AccessRecord, value: bytes | None) -> None:
    settings, bootstrap = ready_broker(settings)
    publisher = InputPublisher(clients_of(settings), bootstrap)
    publisher.send(Topics.of(settings).access, key_of(record).decode(), value)
    publisher.finish()
