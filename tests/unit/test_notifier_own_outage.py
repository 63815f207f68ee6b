"""An executor that loses its uplink: no user is told, and operators are told which executor it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notifying import HOUR, MINUTE, RULES, SECOND, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, WebhookAddress
from everwatch.notifier.alerts import AlertKind
from everwatch.notifier.executor_outages import ExecutorOutage, after_suspect_failure, alert_of, by_region
from everwatch.notifier.judging import release_held
from everwatch.notifier.wording import subject_of

WAITING = RULES.replace('group_wait = "0s"', 'group_wait = "30s"')
USERS = 60


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying.of_users(Settings(data_dir=tmp_path), WAITING, (f"u-{n}" for n in range(USERS)))
    yield made
    made.close()


def cut_off(notifying: Notifying, percent: int = 100, users: int = USERS) -> None:
    """The monitor of each user fails, each at another target; the first results cannot say how many others do."""
    for n in range(users):
        share = percent * n // users
        notifying.tell(
            transition(
                "up", "down", n / 10, f"u-{n}", target=f"t-{n}.example", executor="e-1", unreached=share if n > 5 else 0
            )
        )


def back(notifying: Notifying, after_s: float, users: int = USERS, executor: str = "e-1") -> None:
    """All recover."""
    for n in range(users):
        target = f"t-{n}.example"
        notifying.tell(transition("down", "up", after_s, f"u-{n}", target=target, executor=executor))


def told(notifying: Notifying, sender: type) -> list[str]:
    return [subject_of(message) for address, message in notifying.receiver.got if isinstance(address, sender)]


@pytest.mark.parametrize("taken_over_by", ["e-1", "e-2"])
async def test_an_executor_that_is_cut_off_makes_no_user_message_and_one_to_operators(
    notifying: Notifying, taken_over_by: str
) -> None:
    cut_off(notifying)
    notifying.plan()
    await notifying.later(30 * SECOND)
    assert told(notifying, WebhookAddress) == ["DOWN: executor e-1"]
    [alert] = notifying.receiver.got[0][1].alerts
    assert alert.reason == "it does not reach 98 % of its targets; what it finds is not told to users for now"
    assert notifying.verdicts("u-59")[0] == (
        "told: mail (held: executor e-1 is doubted), hook (by the incident of its executor)"
    )
    await notifying.later(3 * MINUTE)
    back(notifying, 240, executor=taken_over_by)
    await notifying.later(30 * SECOND)
    await notifying.later(10 * MINUTE)
    assert told(notifying, EmailAddress) == []
    assert told(notifying, WebhookAddress) == ["DOWN: executor e-1", "Recovered: executor e-1 (after 3 min 58 s)"]
    assert notifying.verdicts("u-7") == ["not told: it recovered while executor e-1 was doubted"] * 2
    # what fails from now on is told as ever
    notifying.tell(transition("up", "down", 900, "u-7", target="t-7.example", executor="e-1"))
    await notifying.later(MINUTE)
    await notifying.later(MINUTE)
    assert told(notifying, EmailAddress) == ["DOWN: shop"]


async def test_what_is_checked_late_after_the_uplink_is_back_makes_no_user_message(notifying: Notifying) -> None:
    cut_off(notifying)
    notifying.plan()
    # a third is checked again at once, and the executor is trusted; the others are checked in their own time
    back(notifying, 20, users=USERS // 3)
    await notifying.later(30 * SECOND)
    await notifying.later(30 * SECOND)
    for n in range(USERS // 3, USERS - 1):
        notifying.tell(transition("down", "up", 61, f"u-{n}", target=f"t-{n}.example", executor="e-1"))
    notifying.plan()
    await notifying.later(30 * SECOND)
    assert told(notifying, EmailAddress) == []
    assert told(notifying, WebhookAddress) == ["Recovered: executor e-1 (after 28 s)"]
    assert notifying.verdicts("u-40")[0] == "not told: it recovered while executor e-1 was doubted"
    # one is down indeed
    await notifying.later(4 * MINUTE)
    assert told(notifying, EmailAddress) == ["DOWN: shop"]


async def test_what_stays_down_is_told_when_the_time_is_up_and_operators_are_told_so(notifying: Notifying) -> None:
    cut_off(notifying, percent=60)
    notifying.plan()
    await notifying.later(5 * MINUTE - 1)
    assert told(notifying, EmailAddress) == []
    notifying.clock.advance(MINUTE)
    release_held(notifying.storage, notifying.rules, notifying.clock.now_ms())
    await notifying.work()
    await notifying.later(30 * SECOND)
    assert told(notifying, EmailAddress) == ["DOWN: shop"] * USERS
    assert told(notifying, WebhookAddress) == ["DOWN: executor e-1", "DOWN now: executor e-1"]
    # nothing more is heard of it: it is believed again, and what fails is told by itself
    notifying.clock.advance(10 * MINUTE)
    release_held(notifying.storage, notifying.rules, notifying.clock.now_ms())
    await notifying.later(5 * MINUTE)
    notifying.tell(transition("up", "down", 3600, "u-1", "other", target="other.example", executor="e-1"))
    await notifying.later(HOUR)
    await notifying.later(MINUTE)
    assert told(notifying, WebhookAddress)[2:] == ["Stable again: executor e-1", "DOWN: other"]


async def test_an_executor_that_reaches_next_to_nothing_is_doubted_for_longer(notifying: Notifying) -> None:
    cut_off(notifying)
    notifying.plan()
    for _ in range(11):
        await notifying.later(5 * MINUTE)
    assert told(notifying, EmailAddress) == []
    await notifying.later(10 * MINUTE)
    assert told(notifying, EmailAddress) == ["DOWN: shop"] * USERS


async def test_what_another_executor_finds_meanwhile_is_told(notifying: Notifying) -> None:
    cut_off(notifying)
    notifying.tell(transition("up", "down", 3, "u-1", "other", target="other.example", executor="e-2", unreached=2))
    notifying.plan()
    await notifying.later(30 * SECOND)
    [mail] = [message for address, message in notifying.receiver.got if isinstance(address, EmailAddress)]
    assert [alert.monitor_id for alert in mail.alerts] == ["other"]
    # and so is what is new in a group that holds something back
    notifying.tell(transition("up", "down", 60, "u-1", "third", target="third.example", executor="e-2"))
    await notifying.later(30 * SECOND)
    await notifying.later(30 * SECOND)
    assert told(notifying, EmailAddress) == ["DOWN: other", "DOWN: third"]


async def test_a_target_that_many_lose_with_their_executor_is_no_incident_of_its_own(notifying: Notifying) -> None:
    # the first twenty come before the executor knows that it is cut off
    for n in range(USERS):
        notifying.tell(
            transition(
                "up", "down", n / 10, f"u-{n}", executor="e-1", target="big.example", unreached=n if n > 30 else 0
            )
        )
    notifying.plan()
    await notifying.later(30 * SECOND)
    back(notifying, 240)
    await notifying.later(4 * MINUTE)
    await notifying.later(MINUTE)
    assert [line.partition(" (")[0] for line in told(notifying, WebhookAddress)] == [
        "DOWN: executor e-1",
        "Recovered: executor e-1",
    ]


async def test_a_target_that_is_down_is_no_outage_of_an_executor(notifying: Notifying) -> None:
    for n in range(USERS):
        notifying.tell(transition("up", "down", n / 10, f"u-{n}", executor="e-1", unreached=2))
    notifying.plan()
    await notifying.later(30 * SECOND)
    assert told(notifying, WebhookAddress) == [f"DOWN: target shop.example, {USERS} monitors"]


async def test_the_guard_is_off_with_no_hold(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path), WAITING + '[own_outage]\nhold = "0s"\n')
    for n in range(USERS):
        notifying.sign_up(f"u-{n}")
    cut_off(notifying)
    notifying.plan()
    await notifying.later(30 * SECOND)
    assert told(notifying, EmailAddress) == ["DOWN: shop"] * USERS
    notifying.close()


def test_the_executors_of_a_region_are_doubted_as_one() -> None:
    failures = [transition("up", "down", 1, "u-1", executor=name, unreached=80, region="eu") for name in ("e-1", "e-2")]
    assert {by_region(each).executor for each in failures} == {"region eu"}
    known = after_suspect_failure(ExecutorOutage("region eu"), HOUR, 80, HOUR)
    assert alert_of(known, AlertKind.OPENED, HOUR).subject == "region eu"
    alone = transition("up", "down", 1, "u-1", executor="e-1")
    assert by_region(alone) is alone
