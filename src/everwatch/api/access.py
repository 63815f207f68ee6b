"""The topic ``access`` as the API knows it: read at the start, then followed.

It holds tokens, operators, login links and ping secrets.
"""

import logging
from collections.abc import Sequence

from everwatch.api.logins import Logins
from everwatch.api.operators import OperatorRecord
from everwatch.api.pinging import PingKeys
from everwatch.api.tokens import AccessRecord, LoginRecord, PingSecret, TokenRecord, Tokens, decoded, key_of
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.kafka.consumed_record import Record
from everwatch.observability.log_throttle import LogThrottle

logger = logging.getLogger(__name__)


class Access:
    """Keeps ``tokens``, ``logins`` and ``ping_keys`` as the topic has them; called in the follower's thread."""

    def __init__(self, tokens: Tokens, logins: Logins, ping_keys: PingKeys, clock: Clock) -> None:
        self._tokens = tokens
        self._logins = logins
        self._ping_keys = ping_keys
        self._log_throttle = LogThrottle(clock)

    def take(self, records: Sequence[Record]) -> None:
        """Take in records of the topic; one that is wrong is logged, and its key counts as deleted."""
        for record in records:
            key = record.key or b""
            if record.value is None:
                self._forget(key)
                continue
            try:
                found = decoded(record.value)
                if key != key_of(found):
                    raise InvalidInput("its key is another one than that of what it holds")
            except InvalidInput as error:
                self._forget(key)
                if self._log_throttle.may_log("record"):
                    logger.warning(
                        "%s, partition %d, offset %d: %s", record.topic, record.partition, record.offset, error.reason
                    )
                continue
            self._put(found)

    def _forget(self, key: bytes) -> None:
        kind, _, name = key.decode(errors="replace").rpartition("/")
        match kind:
            case "ping":
                self._ping_keys.forget(name)
            case "login":
                self._logins.forget(name)
            case "operator":
                self._tokens.operators.forget(name)
            case "":
                self._tokens.revoke(name)

    def _put(self, record: AccessRecord) -> None:
        match record:
            case TokenRecord():
                self._tokens.put(record)
            case LoginRecord():
                self._logins.put(record)
            case PingSecret():
                self._ping_keys.put(record)
            case OperatorRecord():
                self._tokens.operators.put(record)
