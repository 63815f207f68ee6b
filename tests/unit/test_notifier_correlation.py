"""Many monitors of many users fail at one target: operators are told of the target, and users one after another."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.notifying import HOUR, MINUTE, RULES, SECOND, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, PagerDutyAddress, WebhookAddress
from everwatch.notifier.target_incidents import Correlation, Failure, TargetIncident, after_end, after_failure
from everwatch.notifier.wording import headline_of, lines_of, subject_of

WAITING = RULES.replace('group_wait = "0s"', 'group_wait = "30s"')
USERS = 40


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying.of_users(Settings(data_dir=tmp_path), WAITING, (f"u-{n}" for n in range(USERS)))
    yield made
    made.close()


def all_of(notifying: Notifying, from_state: str, to_state: str, after_s: float, users: int = USERS) -> None:
    """The monitor of each user changes, all within two seconds."""
    notifying.tell(*(transition(from_state, to_state, after_s + n / 20, f"u-{n}") for n in range(users)))


def test_a_hundred_thousand_users_at_one_target_are_one_incident_that_opens_and_closes_once() -> None:
    rules, known = Correlation(), TargetIncident("shop.example")
    changes: Counter[str] = Counter()
    most_kept = 0
    for n in range(100_000):
        before = known.is_open
        known = after_failure(known, Failure(START + n // 2, f"u-{n}", "shop"), rules)
        changes["opened"] += known.is_open and not before
        most_kept = max(most_kept, len(known.recent))
    assert (known.failing, most_kept < rules.monitors) == (100_000, True)
    for n in range(100_000):
        known, closed = after_end(known, START + HOUR + n // 2, rules)
        changes["closed"] += closed is not None
    assert changes == {"opened": 1, "closed": 1}
    assert known.failing == 0


async def test_operators_get_one_message_of_the_target_and_one_of_its_end(notifying: Notifying) -> None:
    all_of(notifying, "up", "down", 0)
    notifying.plan()
    await notifying.later(30 * SECOND)
    all_of(notifying, "down", "up", 240)
    await notifying.later(4 * MINUTE)
    await notifying.later(MINUTE)
    told = [message for address, message in notifying.receiver.got if isinstance(address, WebhookAddress)]
    assert [subject_of(message) for message in told] == [
        f"DOWN: target shop.example, {USERS} monitors",
        f"Recovered: target shop.example, {USERS} monitors (after 4 min 29 s)",
    ]
    assert lines_of(told[0], with_user=True) == [
        f"DOWN: target shop.example, {USERS} monitors — since 2027-01-15 08:00:00 UTC"
    ]
    assert notifying.verdicts("u-39")[0] == "told: mail, hook (by the incident of its target)"
    with notifying.storage.look() as work:
        assert work.open_targets() == []
    # every user is told of their own
    assert Counter(m.user_id for a, m in notifying.receiver.got if isinstance(a, EmailAddress)).keys() == {
        f"u-{n}" for n in range(USERS)
    }


async def test_users_are_told_one_after_another(tmp_path: Path) -> None:
    rules = WAITING + "[correlation]\nusers_per_second = 10\n"
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    for n in range(USERS):
        notifying.sign_up(f"u-{n}")
    all_of(notifying, "up", "down", 0)
    notifying.plan()
    await notifying.later(30 * SECOND)
    told = [len(notifying.receiver.summaries(EmailAddress))]
    for _ in range(4):
        await notifying.later(SECOND)
        told.append(len(notifying.receiver.summaries(EmailAddress)))
    assert [after - before for before, after in pairwise(told)][:3] == [10, 10, 10]
    assert told[-1] == USERS
    # what is not about this target does not wait for its turn
    all_of(notifying, "down", "up", 240)
    notifying.tell(transition("up", "down", 240, "u-0", "other", target="other.example"))
    notifying.plan()
    await notifying.later(4 * MINUTE)
    due = {each.user_id: each.due_at for each in notifying.deliveries() if each.created_at == notifying.clock.now_ms()}
    assert max(due.values()) - min(due.values()) == (USERS - 1) * 100
    notifying.close()


async def test_an_escalation_does_not_wait_until_all_users_were_told(tmp_path: Path) -> None:
    escalation = '[[users]]\nname = "urgent"\nafter = "40s"\nemail = { to = "{{user.id}}@urgent.example" }\n'
    rules = WAITING.replace("[[operators]]", escalation + "[[operators]]") + "[correlation]\nusers_per_second = 1\n"
    notifying = Notifying.of_users(Settings(data_dir=tmp_path), rules, (f"u-{n}" for n in range(USERS)))
    all_of(notifying, "up", "down", 0)
    notifying.plan()
    await notifying.later(30 * SECOND)
    await notifying.later(15 * SECOND)
    waiting = notifying.deliveries("pending")
    told_last = max(each.due_at for each in waiting if each.route == "mail")
    escalated = sorted(each.due_at for each in notifying.deliveries() if each.route == "urgent")
    assert len(escalated) == USERS
    assert escalated[0] == notifying.clock.now_ms() < told_last - 20 * SECOND
    assert {after - before for before, after in pairwise(escalated)} == {SECOND}
    notifying.close()


async def test_few_monitors_many_of_few_users_and_slow_ones_are_told_one_by_one(notifying: Notifying) -> None:
    all_of(notifying, "up", "down", 0, users=19)
    notifying.tell(*(transition("up", "down", 0, f"u-{n % 4}", f"m-{n}", target="four.example") for n in range(30)))
    notifying.tell(*(transition("up", "down", 10 * n, f"u-{n}", "slow", target="slow.example") for n in range(30)))
    with notifying.storage.look() as work:
        assert work.open_targets() == []
    notifying.plan()
    await notifying.later(30 * SECOND)
    [message] = [m for a, m in notifying.receiver.got if isinstance(a, WebhookAddress)]
    assert message.counts == {"opened": 79}


async def test_a_pager_that_has_an_incident_open_is_told_its_end_and_the_targets_once(tmp_path: Path) -> None:
    rules = RULES.partition("[[users]]")[0] + '[[operators]]\nname = "pager"\npagerduty = { routing_key = "k" }\n'
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    # without a wait those that came first are told by themselves
    for n in range(USERS):
        notifying.sign_up(f"u-{n}")
        notifying.tell(transition("up", "down", n / 10, f"u-{n}"))
        await notifying.work()
    all_of(notifying, "down", "up", 240)
    await notifying.later(4 * MINUTE)
    events = [(headline_of(m.alerts[0]), m.alerts[0].incident_id) for a, m in notifying.receiver.got]
    assert all(isinstance(address, PagerDutyAddress) for address, _ in notifying.receiver.got)
    opened = {id_ for line, id_ in events if line.startswith("DOWN")}
    ended = Counter(id_ for line, id_ in events if line.startswith("Recovered"))
    assert len(opened) == 19 + 1
    assert ended == dict.fromkeys(opened, 1)
    notifying.close()


async def test_a_monitor_that_is_still_down_after_its_target_is_told_by_its_reminder_and_its_end(
    notifying: Notifying,
) -> None:
    all_of(notifying, "up", "down", 0)
    notifying.plan()
    await notifying.later(30 * SECOND)
    notifying.tell(*(transition("down", "up", 60, f"u-{n}") for n in range(USERS - 1)))
    await notifying.later(2 * MINUTE)
    await notifying.later(MINUTE)
    last = f"u-{USERS - 1}"
    notifying.tell(transition("down", "down", 600, last, reminder=True))
    await notifying.later(7 * MINUTE)
    await notifying.later(MINUTE)
    notifying.tell(transition("down", "up", 700, last))
    await notifying.later(2 * MINUTE)
    await notifying.later(MINUTE)
    told = [subject_of(m) for a, m in notifying.receiver.got if isinstance(a, WebhookAddress)]
    assert told[1:] == [
        f"Recovered: target shop.example, {USERS} monitors (after 2 min 29 s)",
        "Still down: shop",
        "Recovered: shop (after 11 min 38 s)",
    ]


async def test_deleted_monitors_end_the_incident_of_their_target(notifying: Notifying) -> None:
    all_of(notifying, "up", "down", 0)
    notifying.plan()
    await notifying.later(30 * SECOND)
    for n in range(USERS):
        notifying.delete(f"u-{n}", "shop")
        notifying.delete(f"u-{n}")
    await notifying.later(MINUTE)
    await notifying.later(MINUTE)
    assert [subject_of(m).partition(":")[0] for a, m in notifying.receiver.got if isinstance(a, WebhookAddress)] == [
        "DOWN",
        "Recovered",
    ]
    with notifying.storage.begin() as work:
        work.trim_shared(START + 2 * HOUR)
        assert work.targets(["shop.example"]) == {}


async def test_correlation_is_off_with_no_monitors(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path), WAITING + "[correlation]\nmonitors = 0\n")
    for n in range(USERS):
        notifying.sign_up(f"u-{n}")
    all_of(notifying, "up", "down", 0)
    notifying.plan()
    await notifying.later(30 * SECOND)
    [message] = [m for a, m in notifying.receiver.got if isinstance(a, WebhookAddress)]
    assert message.counts == {"opened": USERS}
    notifying.close()
