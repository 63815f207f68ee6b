"""Puts whose monitors are the same text are admitted once: with the same outcome as each by itself."""

from typing import Any

import orjson
import pytest

from everwatch.core.errors import InvalidInput
from everwatch.model import At, Command
from everwatch.rules.admission import admit_command

SITE = {
    "kind": "http",
    "config": {"url": "https://shop.example/"},
    "schedule": {"every": "1m"},
    "labels": {"env": "prod"},
}
PUT = {"command": "put", "user_id": "u-1", "monitor_id": "site", "monitor": SITE}
# a field with the default of a command, which the fast way does not know: it is admitted the slow way
SLOW = {"maintenance": []}


def admitted(wanted: dict[str, Any], asked_at: int = 0) -> Command | tuple[str, str]:
    try:
        return admit_command(orjson.dumps(wanted), asked_at)
    except InvalidInput as error:
        return error.path, error.reason


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"command_id": "c-1", "if_version": 3, "reply": "refused", "request_digest": "0f"},
        {"monitor_id": ""},
        {"monitor": SITE | {"monitor_id": "site"}},
        {"monitor": SITE | {"monitor_id": "another"}},
        {"monitor": SITE | {"policy": {"severity": "warning", "regions": []}}},
        {"monitor": SITE | {"kind": "nothing"}},
        {"monitor": SITE | {"config": {"url": "no address"}}},
        {"monitor": SITE | {"schedule": {"every": "1ms"}}},
        {"monitor": SITE | {"schedule": {"at": "2027-01-15T09:00:00Z"}}},
        {"monitor": {"kind": "noop", "schedule": {"every": "1m"}}, "monitor_id": ""},
        {"monitor": []},
        {"monitor": None},
        {"user_id": ""},
        {"if_version": -1},
        {"until": "2027-01-15T09:00:00Z"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_put_is_admitted_alike_at_first_again_and_by_the_slow_way(change: dict[str, Any]) -> None:
    wanted = PUT | change
    first, again = admitted(wanted), admitted(wanted | {"user_id": wanted["user_id"]})
    assert first == again == admitted(wanted | SLOW)


def test_puts_of_one_text_share_their_monitor() -> None:
    one, other = (admitted(PUT | {"user_id": user}) for user in ("u-1", "u-2"))
    assert isinstance(one, Command)
    assert isinstance(other, Command)
    assert one.monitor is other.monitor
    assert (one.user_id, other.user_id) == ("u-1", "u-2")


def test_a_delay_counts_from_when_each_put_was_asked_for() -> None:
    put = PUT | {"monitor": {"kind": "noop", "schedule": {"in": "1m"}}}
    first, second = admitted(put, 1_000), admitted(put, 5_000)
    assert isinstance(first, Command)
    assert isinstance(second, Command)
    assert first.monitor is not None
    assert second.monitor is not None
    assert (first.monitor.schedule, second.monitor.schedule) == (At(61_000), At(65_000))
