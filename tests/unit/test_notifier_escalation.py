"""Escalations, acknowledgements and snoozes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notifying import HOUR, MINUTE, RULES, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.addresses import EmailAddress, SlackAddress, WebhookAddress
from everwatch.notifier.judging import end_snoozes

ESCALATING = RULES + '[[operators]]\nname = "boss"\nafter = "15m"\nslack = { url = "https://boss.example/" }\n'
DOWN, UP = transition("up", "down"), transition("down", "up", 3600)


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path), ESCALATING)
    made.sign_up()
    yield made
    made.close()


def acknowledge(notifying: Notifying, snooze_ms: int = 0) -> None:
    with notifying.storage.begin() as work:
        [incident] = work.open_incidents("u-1")
        now = notifying.clock.now_ms()
        until = now + snooze_ms if snooze_ms else 0
        work.put_ack(Acknowledgement(incident.incident_id, "u-1", "shop", now, "ada", until))


async def test_what_nobody_acknowledges_is_escalated_after_a_while_and_so_is_its_end(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    assert notifying.receiver.summaries(WebhookAddress) == ["opened"]
    await notifying.later(15 * MINUTE - 1)
    assert notifying.receiver.summaries(SlackAddress) == []
    await notifying.later(1)
    assert notifying.receiver.summaries(SlackAddress) == ["opened"]
    notifying.tell(UP)
    await notifying.later(45 * MINUTE)
    assert notifying.receiver.summaries(SlackAddress) == ["opened", "closed"]
    assert notifying.receiver.summaries(EmailAddress) == ["opened", "closed"]


async def test_what_is_acknowledged_in_time_is_not_escalated_and_neither_is_its_end(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    acknowledge(notifying)
    await notifying.later(20 * MINUTE)
    notifying.tell(UP)
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(SlackAddress) == []
    assert notifying.receiver.summaries(WebhookAddress) == ["opened", "closed"]


async def test_what_is_over_in_time_is_not_escalated(notifying: Notifying) -> None:
    notifying.tell(DOWN, transition("down", "up", 600))
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(SlackAddress) == []


async def test_of_what_is_acknowledged_nobody_is_reminded_but_told_its_end(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    acknowledge(notifying)
    notifying.tell(transition("down", "down", 600, reminder=True))
    await notifying.later(10 * MINUTE)
    assert notifying.verdicts()[-1] == "not told: acknowledged by ada"
    notifying.tell(UP)
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(EmailAddress) == ["opened", "closed"]
    # the next incident is another one
    notifying.tell(transition("up", "down", 7200))
    await notifying.later(2 * HOUR)
    assert notifying.receiver.summaries(EmailAddress) == ["opened", "closed", "opened"]


async def test_what_is_snoozed_is_told_again_if_it_goes_on(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    acknowledge(notifying, snooze_ms=HOUR)
    notifying.tell(transition("down", "late", 600), transition("late", "late", 900, reminder=True))
    await notifying.later(30 * MINUTE)
    assert notifying.receiver.summaries(EmailAddress) == ["opened"]
    assert end_snoozes(notifying.storage, notifying.rules, notifying.clock.now_ms()) == 0
    notifying.clock.advance(30 * MINUTE)
    assert end_snoozes(notifying.storage, notifying.rules, notifying.clock.now_ms()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(EmailAddress) == ["opened", "reminder"]
    assert end_snoozes(notifying.storage, notifying.rules, notifying.clock.now_ms()) == 0


async def test_a_snooze_of_what_is_over_ends_in_silence(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    acknowledge(notifying, snooze_ms=2 * HOUR)
    notifying.tell(UP)
    await notifying.later(HOUR)
    notifying.clock.advance(HOUR)
    assert end_snoozes(notifying.storage, notifying.rules, notifying.clock.now_ms()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(EmailAddress) == ["opened", "closed"]


async def test_acknowledgements_go_with_their_user_and_with_age(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    acknowledge(notifying)
    with notifying.storage.begin() as work:
        [incident] = work.open_incidents()
        work.trim(START, 10)
        assert work.acks([incident.incident_id])
    notifying.delete("u-1")
    with notifying.storage.look() as work:
        assert work.acks([incident.incident_id]) == {}
