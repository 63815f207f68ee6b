"""Outcomes of messages on the topic notifications: each attempt, at least once, however the notifier ends."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.notifying import AT_ONCE, MINUTE, SECOND, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, EverwatchError, RecordRefused
from everwatch.notifier.housekeeping import OUTCOMES_WAIT_MS, chores
from everwatch.notifier.notification_records import NotificationRecord, NotifiedAlert, decode_notification
from everwatch.notifier.outcome_publisher import OutcomePublisher
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict

RULES = (
    AT_ONCE
    + """
[[users]]
name = "hook"
webhook = { url = "https://hooks.example/{{user.attributes.path}}" }

[[operators]]
name = "chat"
doubt = "skip"
slack = { url = "https://slack.example/ops" }
"""
)


class Topic:
    """The topic, and why it takes a record or not."""

    def __init__(self) -> None:
        self.records: list[tuple[str, NotificationRecord]] = []
        self.failure: EverwatchError | None = None

    async def send_each(self, records: Sequence[tuple[str, bytes, bytes | None]]) -> list[EverwatchError | None]:
        if self.failure is None:
            self.records += [(key.decode(), decode_notification(value or b"")) for _, key, value in records]
        return [self.failure for _ in records]

    def states(self, key: str) -> list[tuple[int, str]]:
        return [(record.attempt, record.state) for of, record in self.records if of == key]


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def notifying(tmp_path: Path) -> Notifying:
    made = Notifying(Settings(data_dir=tmp_path), RULES)
    made.sign_up(path="a")
    return made


def publisher_of(notifying: Notifying, topic: Topic) -> OutcomePublisher:
    async def in_database(call):  # type: ignore[no-untyped-def]
        return call()

    return OutcomePublisher(notifying.storage, topic, "notifications", notifying.clock, in_database, lambda *_: None)


async def publish(notifying: Notifying, topic: Topic) -> None:
    publisher = publisher_of(notifying, topic)
    while await publisher.turn():
        pass
    await publisher.finish()


async def test_each_attempt_has_a_record_that_says_how_it_ended(notifying: Notifying, topic: Topic) -> None:
    notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.FAILED, "status 500")
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.SENT, "status 204")
    await notifying.later(6 * SECOND)
    await publish(notifying, topic)
    assert topic.states("u-1") == [(1, "pending"), (2, "sent")]
    first, last = (record for key, record in topic.records if key == "u-1")
    [message] = [each for each in notifying.deliveries() if each.route == "hook"]
    assert first.notification_id == last.notification_id == message.delivery_id
    assert (first.at, first.due_at, first.reason) == (START, START + 5 * SECOND, "status 500")
    assert (last.at, last.due_at, last.created_at) == (START + 6 * SECOND, 0, START)
    assert (first.sender, first.target, first.user_id) == ("webhook", "hooks.example:443", "u-1")
    assert first.alerts == (NotifiedAlert("opened", first.alerts[0].incident_id, "u-1", "shop"),)


async def test_operators_messages_are_keyed_by_their_route(notifying: Notifying, topic: Topic) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    await publish(notifying, topic)
    [record] = [record for key, record in topic.records if key == "chat"]
    assert (record.user_id, record.state, record.alerts[0].user_id) == ("", "sent", "u-1")


async def test_a_message_that_is_composed_anew_is_superseded(notifying: Notifying, topic: Topic) -> None:
    notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.FAILED, "status 500")
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.tell(transition("down", "up", 1))
    await notifying.later(2 * SECOND)
    await publish(notifying, topic)
    assert topic.states("u-1") == [(1, "pending"), (1, "superseded")]


async def test_a_message_without_an_address_is_dead(notifying: Notifying, topic: Topic) -> None:
    notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.FAILED, "status 500")
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.sign_up(other="b")
    await notifying.later(MINUTE)
    await publish(notifying, topic)
    assert topic.states("u-1") == [(1, "pending"), (2, "dead")]


async def test_a_message_that_is_sent_again_by_command_has_outcomes_of_later_instants(
    notifying: Notifying, topic: Topic
) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    with notifying.storage.begin() as work:
        assert work.replay("sent", 0, "hook", "", START + MINUTE) == 1
    await notifying.later(MINUTE)
    await publish(notifying, topic)
    assert topic.states("u-1") == [(1, "sent"), (1, "sent")]
    first, again = (record for key, record in topic.records if key == "u-1")
    assert first.notification_id == again.notification_id
    assert (first.at, again.at) == (START, START + MINUTE)


async def test_a_message_in_doubt_is_sent_again_or_skipped(notifying: Notifying, topic: Topic) -> None:
    notifying.tell(transition("up", "down"))
    notifying.plan()
    with notifying.storage.begin() as work:
        work.claim([each.delivery_id for each in notifying.deliveries()], START)
    assert notifying.resolve_doubts() == 2
    await publish(notifying, topic)
    assert topic.states("u-1") == [(1, "pending")]
    assert topic.states("chat") == [(1, "skipped")]


async def test_a_purge_of_a_user_deletes_the_outcomes_that_wait(notifying: Notifying, topic: Topic) -> None:
    notifying.sign_up("chat", path="b")
    notifying.sign_up("u-2", path="c")
    notifying.tell(*(transition("up", "down", user_id=user_id) for user_id in ("u-1", "u-2", "chat")))
    await notifying.work()
    notifying.delete("u-1")
    # the operators' route has this name too
    notifying.delete("chat")
    await publish(notifying, topic)
    assert topic.states("u-1") == []
    assert topic.states("u-2") == [(1, "sent")]
    assert {record.route for key, record in topic.records if key == "chat"} == {"chat"}


async def test_nothing_is_lost_while_no_broker_answers(notifying: Notifying, topic: Topic) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    topic.failure = BrokerUnavailable("away")
    assert await publisher_of(notifying, topic).turn() == 0
    topic.failure = None
    await publish(notifying, topic)
    await publish(notifying, topic)
    assert topic.states("u-1") == [(1, "sent")]


async def test_a_record_that_kafka_never_takes_stops_no_other(notifying: Notifying, topic: Topic) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    topic.failure = RecordRefused("too large")
    await publish(notifying, topic)
    topic.failure = None
    notifying.tell(transition("down", "up", 60))
    await notifying.later(MINUTE)
    await publish(notifying, topic)
    assert [record.alerts[0].kind for key, record in topic.records if key == "u-1"] == ["closed"]


async def test_a_kill_between_the_broker_and_the_database_repeats_the_record(
    notifying: Notifying, topic: Topic
) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    assert await publisher_of(notifying, topic).turn() == 2
    await notifying.later(MINUTE)
    await publish(notifying, topic)
    twice = [record for key, record in topic.records if key == "u-1"]
    assert len(twice) == 2
    assert twice[0] == twice[1]


async def test_outcomes_that_no_broker_took_for_a_week_are_forgotten(notifying: Notifying, topic: Topic) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    late = START + OUTCOMES_WAIT_MS + 1
    for name, chore in chores(notifying.storage, notifying.rules, late, keep_days=0):
        if name == "deleting outcomes that no broker took":
            chore()
    await publish(notifying, topic)
    assert topic.records == []
