"""A monitor that depends on another one makes no alert while that one is down."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notifying import MINUTE, RULES, SECOND, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, WebhookAddress
from everwatch.notifier.wording import subject_of

WAITING = RULES.replace('group_wait = "0s"', 'group_wait = "30s"')
LABELS = {"depends_on": "router, gateway"}


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path), WAITING)
    made.sign_up("u-1")
    yield made
    made.close()


def told(notifying: Notifying, sender: type = EmailAddress) -> list[str]:
    return [subject_of(message) for address, message in notifying.receiver.got if isinstance(address, sender)]


async def test_what_depends_on_a_monitor_that_is_down_is_not_told(notifying: Notifying) -> None:
    # it is found first: both wait for the others of their group
    notifying.tell(transition("up", "down", monitor_id="shop", labels=LABELS))
    notifying.tell(transition("up", "down", 5, monitor_id="gateway"))
    notifying.plan()
    await notifying.later(30 * SECOND)
    for _ in range(5):
        await notifying.later(MINUTE)
    notifying.tell(transition("down", "up", 400, monitor_id="shop", labels=LABELS))
    notifying.tell(transition("down", "up", 401, monitor_id="gateway"))
    notifying.plan()
    await notifying.later(30 * SECOND)
    await notifying.later(10 * MINUTE)
    assert [line.partition(" (")[0] for line in told(notifying)] == ["DOWN: gateway", "Recovered: gateway"]
    assert told(notifying, WebhookAddress) == told(notifying)


async def test_what_is_still_down_when_that_one_recovers_is_told_then(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", monitor_id="gateway"))
    notifying.tell(transition("up", "down", 1, monitor_id="shop", labels=LABELS))
    notifying.plan()
    await notifying.later(MINUTE)
    notifying.tell(transition("down", "up", 90, monitor_id="gateway"))
    for _ in range(4):
        await notifying.later(MINUTE)
    assert [line.partition(" (")[0] for line in told(notifying)] == ["DOWN: gateway", "1 down, 1 recovered"]


async def test_what_recovers_before_the_other_one_is_never_told_and_explained(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", monitor_id="gateway"))
    notifying.tell(transition("up", "down", 1, monitor_id="shop", labels=LABELS))
    notifying.plan()
    await notifying.later(30 * SECOND)
    notifying.tell(transition("down", "up", 90, monitor_id="shop", labels=LABELS))
    for _ in range(4):
        await notifying.later(MINUTE)
    assert told(notifying) == ["DOWN: gateway"]
    assert (
        notifying.verdicts(monitor_id="shop")
        == ["not told: it recovered while gateway, on which it depends, was down"] * 2
    )


async def test_a_name_of_no_monitor_holds_nothing_back(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", monitor_id="shop", labels={"depends_on": "shop,,nothing"}))
    notifying.plan()
    await notifying.later(30 * SECOND)
    assert told(notifying) == ["DOWN: shop"]


async def test_what_depends_on_each_other_is_told(notifying: Notifying) -> None:
    for one, other in (("a", "b"), ("b", "c"), ("c", "a")):
        notifying.tell(transition("up", "down", monitor_id=one, labels={"depends_on": other}))
    notifying.plan()
    await notifying.later(30 * SECOND)
    assert told(notifying) == ["3 down"]
