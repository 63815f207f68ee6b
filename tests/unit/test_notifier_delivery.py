"""From a transition to an attempt, and what follows from how it ended. Receivers are played, time is set.

All in one file: one way of a message, from the transition to its outcome.
"""

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from support.notifying import HOUR, MINUTE, RULES, SECOND, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.kafka.topics import Topics
from everwatch.model import Status
from everwatch.notifier.addresses import Address, EmailAddress, WebhookAddress
from everwatch.notifier.alerts import Message, derived_id
from everwatch.notifier.dispatch import Limits
from everwatch.notifier.intake import build_batch
from everwatch.notifier.judging import judge
from everwatch.notifier.planner import Planner
from everwatch.notifier.retrying import WEBHOOK_DELAYS_MS
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.senders.over_http import post_of

DOWN, UP = transition("up", "down"), transition("down", "up", 240)
FAILED = AttemptOutcome(Verdict.FAILED, "status 500")
AWAY = AttemptOutcome(Verdict.FAILED, "connection refused", is_servers=True)
SENT = AttemptOutcome(Verdict.SENT, "taken")


def planned(planner: Planner, notifying: Notifying, now: int) -> bool:
    """Judge and compose; tell whether there was anything to do."""
    judged = planner.judge(notifying.rules, [0], now)
    return planner.compose(notifying.rules, now) or judged


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path))
    made.sign_up()
    yield made
    made.close()


def fails_at(sender: type[Address], outcome: AttemptOutcome = FAILED) -> object:
    """Answers of a receiver of which one kind fails."""
    return lambda address, _: outcome if isinstance(address, sender) else SENT


def counted(name: str, sender: str) -> float:
    """Return what the notifier has counted so far for a sender."""
    return REGISTRY.get_sample_value(f"everwatch_notifier_{name}", {"sender": sender}) or 0.0


async def test_a_user_is_told_by_mail_and_operators_by_webhook_when_a_monitor_goes_down_and_recovers(
    notifying: Notifying,
) -> None:
    notifying.tell(DOWN)
    await notifying.work()
    notifying.tell(UP)
    await notifying.work()
    receiver = notifying.receiver
    assert receiver.summaries(EmailAddress) == receiver.summaries(WebhookAddress) == ["opened", "closed"]
    assert {address.shown for address, _ in receiver.got} == {"u…@example.com", "hooks.example:443"}
    assert notifying.verdicts() == ["told: mail, hook"] * 2
    assert len({message.message_id for _, message in receiver.got}) == 4


async def test_how_long_a_message_took_to_arrive_is_counted_whatever_number_of_attempts_it_took(
    notifying: Notifying,
) -> None:
    before = [counted(f"message_delay_seconds_{what}", "webhook") for what in ("count", "sum")]
    notifying.receiver.answers = fails_at(WebhookAddress)  # type: ignore[assignment]
    notifying.tell(DOWN)
    await notifying.work()
    notifying.receiver.answers = fails_at(EmailAddress)  # type: ignore[assignment]
    await notifying.later(WEBHOOK_DELAYS_MS[0])
    after = [counted(f"message_delay_seconds_{what}", "webhook") for what in ("count", "sum")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, WEBHOOK_DELAYS_MS[0] / 1000]


async def test_a_transition_that_is_read_again_is_told_once(notifying: Notifying) -> None:
    records = [notifying.record(DOWN), notifying.record(DOWN)]
    for _ in range(3):
        notifying.take(records)
        await notifying.work()
    notifying.tell(DOWN)
    await notifying.work()
    assert notifying.receiver.summaries(EmailAddress) == ["opened"]


async def test_a_transition_that_the_version_before_has_taken_in_is_told_once(notifying: Notifying) -> None:
    failed = transition("new", "done", 1, monitor_id="task", outcome=Status.FAILURE)
    notifying.tell(DOWN, failed)
    await notifying.work()
    with sqlite3.connect(tmp_database(notifying)) as connection:
        # its ids did not begin with their instant
        for each in (DOWN, failed):
            former = derived_id("event", each.user_id, each.monitor_id, each.at, each.to_state.value, each.reminder)
            where = (former, each.monitor_id)
            assert connection.execute("UPDATE alert_events SET event_id = ? WHERE monitor_id = ?", where).rowcount == 1
    notifying.tell(DOWN, failed)
    await notifying.work()
    assert notifying.receiver.summaries(EmailAddress) == ["opened failed"]


async def test_first_successes_pauses_and_resumes_are_not_even_stored(notifying: Notifying) -> None:
    quiet = [("new", "up"), ("up", "paused"), ("paused", "new")]
    records = [notifying.record(transition(*states, n, alert=False)) for n, states in enumerate(quiet)]
    assert build_batch(records, Topics.of(notifying.settings), notifying.clock.now_ms()).transitions == []


async def test_a_record_that_is_no_transition_is_refused_and_harms_no_other(notifying: Notifying) -> None:
    good = notifying.record(DOWN)
    bad = good._replace(value=b"{")._replace(offset=good.offset + 1)
    ahead = notifying.record(transition("up", "down", 1e9))
    batch = build_batch([good, bad, ahead], Topics.of(notifying.settings), notifying.clock.now_ms())
    assert [str(error).partition(":")[0] for _, error in batch.refused] == [
        "neither an Avro nor a JSON transition",
        "it is from the future",
    ]
    notifying.take([good, bad, ahead])
    await notifying.work()
    assert notifying.receiver.summaries(EmailAddress) == ["opened"]


async def test_an_address_that_a_user_gives_stops_nobody_else(tmp_path: Path) -> None:
    rules = RULES + '[[users]]\nname = "own"\nwebhook = { url = "{{user.attributes.hook}}" }\n'
    notifying = Notifying(Settings(data_dir=tmp_path), rules.replace("{{user.attributes.email}}", "ada@example.com", 1))
    # a zero-width space, which is no part of a host name
    notifying.sign_up("u-1", hook="http://a\u200bb/")
    notifying.tell(DOWN)
    await notifying.work()
    assert notifying.receiver.summaries(WebhookAddress)[0] == "opened"
    notifying.close()


@pytest.mark.parametrize("table", ["alert_items", "alert_events"])
async def test_what_cannot_be_read_back_is_passed_over_alone(notifying: Notifying, table: str) -> None:
    notifying.sign_up("u-2")
    planner = Planner(notifying.storage, Topics.of(notifying.settings).transitions, lambda *_: None)
    notifying.rules = dataclasses.replace(notifying.rules, routes=notifying.rules.routes[:1])
    notifying.tell(DOWN, *(transition("up", "down", n, "u-2", f"m-{n}") for n in range(3)))
    if table == "alert_items":
        judge(notifying.storage, notifying.rules, [0], Topics.of(notifying.settings).transitions, START)
    with sqlite3.connect(tmp_database(notifying)) as connection:
        connection.execute(f"UPDATE {table} SET document = '{{' WHERE document LIKE '%u-1%'")
    while planned(planner, notifying, START):
        pass
    await notifying.send()
    [message] = [message for _, message in notifying.receiver.got]
    assert [alert.user_id for alert in message.alerts] == ["u-2"] * 3
    # nothing is left to be looked at again and again, and nothing that was well is given up
    notifying.tell(transition("up", "down", 9, "u-2", "later"))
    notifying.clock.advance(MINUTE)
    while planned(planner, notifying, START + MINUTE):
        pass
    await notifying.send()
    assert len(notifying.receiver.got) == 2


async def test_an_incident_that_cannot_be_read_back_costs_no_other_its_events(notifying: Notifying) -> None:
    planner = Planner(notifying.storage, Topics.of(notifying.settings).transitions, lambda *_: None)
    notifying.sign_up("u-2")
    notifying.tell(*(transition(*("up", "down")[:: 1 - 2 * (n % 2)], n) for n in range(8)))
    while planned(planner, notifying, START):
        pass
    with sqlite3.connect(tmp_database(notifying)) as connection:
        [settles_at] = connection.execute("SELECT settles_at FROM incidents").fetchone()
        connection.execute("UPDATE incidents SET document = '{'")
    assert settles_at
    notifying.clock.set(settles_at)
    notifying.tell(*(transition("up", "down", n, "u-2", f"m-{n}") for n in range(3)))
    for _ in range(50):
        planned(planner, notifying, settles_at)
    assert [notifying.verdicts("u-2", f"m-{n}") for n in range(3)] == [["told: mail, hook"]] * 3


def tmp_database(notifying: Notifying) -> str:
    """The file of the notifier's database."""
    return str(notifying.settings.data_dir / "everwatch-notifier.db")


async def test_a_transition_that_comes_before_its_users_signup_waits_for_it(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", user_id="u-2"), transition("up", "down", 1, user_id="u-2", monitor_id="b"))
    await notifying.work()
    assert notifying.receiver.got == []
    notifying.sign_up("u-2")
    await notifying.later(2 * SECOND)
    # one after the other: they are judged in their order, and group_wait is 0
    assert sorted(" ".join(notifying.receiver.summaries(EmailAddress)).split()) == ["opened", "opened"]


async def test_what_waits_for_its_user_is_judged_before_what_comes_after_it(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", user_id="u-2"))
    await notifying.work()
    notifying.sign_up("u-2")
    notifying.tell(transition("down", "up", 1, user_id="u-2"))
    await notifying.work()
    await notifying.later(2 * SECOND)
    with notifying.storage.look() as work:
        assert work.open_incidents() == []
    assert notifying.verdicts("u-2") == ["told: mail, hook"] * 2


async def test_operators_are_told_of_a_user_that_never_comes(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", user_id="ghost"))
    await notifying.later(MINUTE + SECOND)
    assert notifying.receiver.summaries(WebhookAddress) == ["opened"]
    assert notifying.receiver.summaries(EmailAddress) == []
    assert notifying.verdicts("ghost") == ["told: hook"]


async def test_what_happened_before_the_notifier_began_is_kept_and_not_told(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", -60), transition("down", "up", 60))
    await notifying.later(2 * MINUTE)
    assert notifying.receiver.got == []
    assert notifying.verdicts() == ["before the notifier began", "its beginning was not told"]


async def test_a_user_that_is_deleted_gets_nothing_and_operators_incidents_end(notifying: Notifying) -> None:
    notifying.rules = Notifying(
        Settings(data_dir=notifying.settings.data_dir / "rules"),
        RULES + '[[operators]]\nname = "pager"\npagerduty = { routing_key = "k" }\n',
    ).rules
    notifying.tell(DOWN)
    await notifying.work()
    notifying.delete("u-1", "shop")
    notifying.delete("u-1")
    await notifying.later(2 * MINUTE)
    assert notifying.receiver.summaries(EmailAddress) == ["opened"]
    with notifying.storage.look() as work:
        assert work.open_incidents() == []
        assert work.users(["u-1"]) == {}
    # no trace of what was theirs alone is left
    assert notifying.verdicts() == []
    assert [each for each in notifying.deliveries() if each.user_id] == []


async def test_alerts_of_one_user_are_one_message_and_those_of_another_are_another(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path), RULES.replace('group_wait = "0s"', 'group_wait = "30s"'))
    for user_id in ("u-1", "u-2"):
        notifying.sign_up(user_id)
        notifying.tell(*(transition("up", "down", n, user_id, f"m-{n}") for n in range(3)))
    await notifying.work()
    assert notifying.receiver.got == []
    await notifying.later(30 * SECOND)
    assert notifying.receiver.summaries(EmailAddress) == ["opened opened opened"] * 2
    assert notifying.receiver.summaries(WebhookAddress) == [" ".join(["opened"] * 6)]
    notifying.close()


async def test_a_webhook_is_tried_again_by_the_schedule_of_standard_webhooks_with_the_same_id(
    notifying: Notifying,
) -> None:
    given_up = counted("given_up_messages_total", "webhook")
    notifying.receiver.answers = fails_at(WebhookAddress)  # type: ignore[assignment]
    notifying.tell(DOWN)
    await notifying.work()
    for delay_ms in WEBHOOK_DELAYS_MS:
        before = len(notifying.receiver.summaries(WebhookAddress))
        await notifying.later(delay_ms - 1)
        assert len(notifying.receiver.summaries(WebhookAddress)) == before
        await notifying.later(1)
        assert len(notifying.receiver.summaries(WebhookAddress)) == before + 1
    [dead] = notifying.deliveries("dead")
    assert (dead.attempt, dead.reason) == (10, "status 500")
    assert counted("given_up_messages_total", "webhook") == given_up + 1
    ids = {message.message_id for address, message in notifying.receiver.got if isinstance(address, WebhookAddress)}
    assert len(ids) == 1


async def test_mail_that_cannot_be_sent_for_a_day_is_given_up(notifying: Notifying) -> None:
    notifying.receiver.answers = fails_at(EmailAddress)  # type: ignore[assignment]
    notifying.tell(DOWN)
    await notifying.work()
    for _ in range(60):
        await notifying.later(30 * MINUTE)
    assert [each.sender for each in notifying.deliveries("dead")] == ["email"]


async def test_a_down_that_could_not_be_sent_and_its_up_are_told_as_one(notifying: Notifying) -> None:
    notifying.receiver.answers = fails_at(EmailAddress)  # type: ignore[assignment]
    notifying.tell(DOWN)
    await notifying.work()
    notifying.receiver.answers = lambda *_: SENT
    notifying.tell(UP)
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(EmailAddress) == ["opened", "closed"]
    assert notifying.receiver.got[-1][1].alerts[0].untold
    # both were made in the same millisecond
    assert sorted(each.state for each in notifying.deliveries() if each.sender == "email") == ["sent", "superseded"]


async def test_a_receiver_that_asks_for_a_pause_gets_it(notifying: Notifying) -> None:
    asked = AttemptOutcome(Verdict.FAILED, "status 429", retry_after_ms=20 * MINUTE, is_servers=True)
    notifying.receiver.answers = fails_at(WebhookAddress, asked)  # type: ignore[assignment]
    notifying.tell(DOWN)
    await notifying.work()
    notifying.receiver.answers = lambda *_: SENT
    # a second message to the same server waits as well
    notifying.tell(transition("up", "down", 1, monitor_id="other"))
    await notifying.later(20 * MINUTE - 1)
    assert notifying.receiver.summaries(WebhookAddress) == ["opened"]
    await notifying.later(1)
    assert "opened opened" in notifying.receiver.summaries(WebhookAddress)


async def test_the_pause_that_one_user_asks_for_holds_another_at_the_same_server_back_for_minutes(
    tmp_path: Path,
) -> None:
    rules = '[defaults]\ngroup_wait = "0s"\n[[users]]\nname = "hook"\nwebhook = { url = "{{user.attributes.hook}}" }\n'
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    for user_id in ("u-1", "u-2"):
        notifying.sign_up(user_id, hook=f"https://shared.example/{user_id}")
    asked = AttemptOutcome(Verdict.FAILED, "status 503", retry_after_ms=24 * HOUR, is_servers=True)
    notifying.receiver.answers = lambda _, message: asked if message.user_id == "u-1" else SENT
    notifying.tell(DOWN)
    await notifying.work()
    notifying.tell(transition("up", "down", user_id="u-2"))
    await notifying.work()
    assert notifying.deliveries("sent") == []
    await notifying.later(5 * MINUTE)
    assert [each.user_id for each in notifying.deliveries("sent")] == ["u-2"]
    # who asked for a day gets a day
    await notifying.later(HOUR)
    assert [each.attempt for each in notifying.deliveries("pending")] == [1]
    notifying.close()


async def test_an_address_that_is_gone_is_given_up_and_the_next_route_takes_over(notifying: Notifying) -> None:
    rules = RULES.replace(
        "[[operators]]", '[[users]]\nname = "spare"\nemail = { to = "spare@example.com" }\n[[operators]]'
    )
    notifying.rules = Notifying(Settings(data_dir=notifying.settings.data_dir / "rules"), rules).rules
    gone = AttemptOutcome(Verdict.GONE, "550 no such user")
    notifying.receiver.answers = lambda address, _: gone if "u-1" in repr(getattr(address, "to", "")) else SENT
    notifying.tell(DOWN)
    await notifying.work()
    [dead] = notifying.deliveries("dead")
    assert dead.reason == "550 no such user"
    with notifying.storage.look() as work:
        [channel] = work.list_channels("u-1")
    assert (channel.route, channel.target) == ("mail", "u…@example.com")
    notifying.tell(UP)
    await notifying.later(5 * MINUTE)
    assert notifying.verdicts()[-1] == "told: spare, hook"
    # another address of the same user is not given up
    notifying.sign_up("u-1", email="new@example.com")
    notifying.tell(transition("up", "down", 600))
    await notifying.later(15 * MINUTE)
    assert notifying.verdicts()[-1] == "told: mail, hook"


async def test_a_users_address_that_fails_for_a_day_is_given_up(notifying: Notifying) -> None:
    notifying.receiver.answers = fails_at(EmailAddress)  # type: ignore[assignment]
    for hour in range(30):
        notifying.tell(transition("up", "down", hour * 3600, monitor_id=f"m-{hour}"))
        await notifying.later(HOUR)
    with notifying.storage.look() as work:
        [channel] = work.list_channels()
    assert channel.failures >= 5


async def test_a_mail_server_that_is_away_gives_up_nobodys_address(notifying: Notifying) -> None:
    notifying.receiver.answers = fails_at(EmailAddress, AWAY)  # type: ignore[assignment]
    for hour in range(30):
        notifying.tell(transition("up", "down", hour * 3600, monitor_id=f"m-{hour}"))
        await notifying.later(HOUR)
    with notifying.storage.look() as work:
        assert work.list_channels() == []


async def test_a_server_that_fails_again_and_again_is_left_alone_and_then_tried_with_one_message(
    notifying: Notifying,
) -> None:
    for n in range(100):
        notifying.sign_up(f"user-{n}")
        notifying.tell(transition("up", "down", user_id=f"user-{n}", target=f"t-{n}.example"))
    notifying.receiver.answers = fails_at(EmailAddress, AWAY)  # type: ignore[assignment]
    await notifying.work()
    tried = len(notifying.receiver.summaries(EmailAddress))
    # those that were under way together, and no more
    assert tried <= 10
    await notifying.later(10 * SECOND)
    assert len(notifying.receiver.summaries(EmailAddress)) == tried + 1
    notifying.receiver.answers = lambda *_: SENT
    await notifying.later(5 * MINUTE)
    await notifying.later(5 * MINUTE)
    assert len([each for each in notifying.deliveries("sent") if each.sender == "email"]) == 100


async def test_a_receiver_that_hangs_holds_back_no_other(tmp_path: Path) -> None:
    class Hanging:
        """Takes what does not go to the host that hangs."""

        def __init__(self) -> None:
            self.taken: list[str] = []
            self.held = 0
            self.most = 0
            self.end = asyncio.Event()

        async def send(self, address: Address, message: Message, *, from_user: bool, whose: str) -> AttemptOutcome:
            if "hangs" in address.shown:
                self.held += 1
                self.most = max(self.most, self.held)
                await self.end.wait()
                self.held -= 1
            else:
                self.taken.append(message.user_id)
            return SENT

    http = Hanging()
    rules = '[defaults]\ngroup_wait = "0s"\n[[users]]\nname = "hook"\nwebhook = { url = "{{user.attributes.url}}" }\n'
    notifying = Notifying(Settings(data_dir=tmp_path), rules, http, limits=Limits(20, 4))
    for n in range(200):
        host = "hangs" if n < 150 else f"well-{n}"
        notifying.sign_up(f"u-{n}", url=f"https://{host}.example/")
    notifying.tell(*(transition("up", "down", user_id=f"u-{n}", target=f"t-{n}.example") for n in range(200)))
    notifying.plan()
    for _ in range(50):
        await notifying.dispatcher.turn()
        await asyncio.sleep(0)
    assert len(http.taken) == 50
    assert http.most == 4
    http.end.set()
    await notifying.send()
    assert len(notifying.deliveries("sent")) == 200
    notifying.close()


async def test_each_incident_that_pagerduty_has_open_is_resolved_though_the_next_one_has_begun(tmp_path: Path) -> None:
    rules = RULES.replace('group_interval = "0s"', 'group_interval = "5m"').partition("[[users]]")[0]
    notifying = Notifying(
        Settings(data_dir=tmp_path), rules + '[[operators]]\nname = "pager"\npagerduty = { routing_key = "k" }\n'
    )
    notifying.sign_up()
    notifying.tell(DOWN)
    await notifying.work()
    notifying.tell(transition("down", "up", 60), transition("up", "down", 120))
    await notifying.later(5 * MINUTE)
    events = [json.loads(post_of(address, message, START).body) for address, message in notifying.receiver.got]
    assert [event["event_action"] for event in events] == ["trigger", "resolve", "trigger"]
    first, resolved, second = (event["dedup_key"] for event in events)
    assert first == resolved != second
    assert len({message.message_id for _, message in notifying.receiver.got}) == 3
    notifying.tell(transition("down", "up", 400))
    await notifying.later(5 * MINUTE)
    assert json.loads(post_of(*notifying.receiver.got[-1], START).body)["dedup_key"] == second
    notifying.close()


async def test_a_route_that_was_taken_out_of_the_rules_sends_nothing_any_more(notifying: Notifying) -> None:
    notifying.tell(DOWN)
    notifying.plan()
    notifying.rules = Notifying(
        Settings(data_dir=notifying.settings.data_dir / "rules"), RULES.partition("[[operators]]")[0]
    ).rules
    await notifying.send()
    assert notifying.receiver.summaries(WebhookAddress) == []
    assert [each.reason for each in notifying.deliveries("dead")] == ["the route hook is not in the rules any more"]
