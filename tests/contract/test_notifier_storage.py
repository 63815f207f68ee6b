"""Tests of what the notifier's storage promises, asked of SQLite and PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy import create_engine, text
from support.notifying import HOUR, MINUTE, START, Notifying, transition
from support.waiting import wait_until

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.kafka.topics import Topics
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.addresses import Address, EmailAddress, WebhookAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.contact_rows import Contact
from everwatch.notifier.doubts import resolve_doubts
from everwatch.notifier.incidents import Phase, after_transition
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.silences import AlertSilence, Selector
from everwatch.notifier.silencing import end_silences
from everwatch.notifier.storage import SCHEMA, database_url_of, open_existing, open_storage
from everwatch.notifier.subscriber_rows import Announced, Subscriber
from everwatch.notifier.tables import metadata
from everwatch.store.database import as_writer, parse_url
from everwatch.store.partition import Partition


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings whose database is empty, or has the sink's tables alone."""
    if request.param == "sqlite":
        return Settings(data_dir=tmp_path)
    return Settings(data_dir=tmp_path, database=request.getfixturevalue("postgres_url"))


@pytest.fixture
def notifying(settings: Settings) -> Iterator[Notifying]:
    made = Notifying(settings)
    yield made
    made.close()


def test_the_migrations_add_up_to_the_tables(settings: Settings) -> None:
    open_storage(settings).close()
    engine = create_engine(parse_url(database_url_of(settings)))
    ours = set(metadata.tables)
    with engine.connect() as connection:
        options = {
            "version_table": SCHEMA.version_table,
            "include_name": lambda name, kind, _: kind != "table" or name in ours,
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


async def test_alerts_come_through_and_are_listed(notifying: Notifying) -> None:
    notifying.sign_up()
    notifying.tell(transition("up", "down", reason="a\0b"), transition("up", "late", 1, monitor_id="job"))
    await notifying.work()
    notifying.tell(transition("down", "up", 240), transition("late", "late", 250, monitor_id="job", reminder=True))
    await notifying.later(5 * MINUTE)
    receiver = notifying.receiver
    assert (
        receiver.summaries(EmailAddress) == receiver.summaries(WebhookAddress) == ["opened opened", "reminder closed"]
    )
    assert [each.state for each in notifying.deliveries()] == ["sent"] * 4
    with notifying.storage.look() as work:
        assert [incident.monitor_id for incident in work.open_incidents("u-1")] == ["job"]
        assert work.flapping([("u-1", "job")]) is None
    with notifying.storage.begin() as work:
        assert work.due_deliveries(START + HOUR, 1, []) == work.groups_to_flush(START + HOUR, 1) == []


async def test_records_that_are_read_again_are_stored_once(notifying: Notifying) -> None:
    notifying.sign_up()
    record = notifying.record(transition("up", "down"))
    for _ in range(2):
        notifying.take([record])
        await notifying.work()
    assert notifying.verdicts() == ["told: mail, hook"]
    assert notifying.receiver.summaries(EmailAddress) == ["opened"]


async def test_old_events_and_messages_go_and_what_waits_stays(notifying: Notifying) -> None:
    notifying.sign_up()
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.tell(transition("up", "down", 1, monitor_id="other"))
    notifying.plan()
    with notifying.storage.begin() as work:
        assert work.trim(START + MINUTE, 100) == 4
    assert [each.state for each in notifying.deliveries()] == ["pending"] * 2


async def test_incidents_of_targets_and_executors_acknowledgements_and_addresses_are_kept(
    notifying: Notifying,
) -> None:
    for n in range(25):
        notifying.sign_up(f"u-{n}")
        notifying.tell(transition("up", "down", n / 10, f"u-{n}", executor="e\0-2"))
    notifying.tell(transition("up", "down", 3, "u-1", "own", target="a.example", executor="e-1", unreached=60))
    await notifying.work()
    with notifying.storage.begin() as work:
        assert [known.target for known in work.open_targets()] == ["shop.example"]
        assert {known.executor for known in work.outages().values() if known.is_open} == {"e-1"}
        slots = work.paced_slots("mail.example:25", 3, START, 50) + work.paced_slots("mail.example:25", 2, START, 50)
        assert slots == [START, START + 20, START + 40, START + 60, START + 80]
        [incident, *_] = work.open_incidents("u-1")
        work.put_ack(Acknowledgement(incident.incident_id, "u-1", "own", START, "ada", START + HOUR))
        assert [ack.acked_by for ack in work.snoozes_over(START + HOUR, 10)] == ["ada"]
        work.put_contacts([Contact("c-1", "u-1", "u…@example.com", "7K2MPQ4R", START, 0)])
        work.verify_contacts(["c-1"], START + 1)
        [contact] = work.contacts_of(["u-1", "u-2"])
        assert (contact.code, contact.verified_at) == ("", START + 1)
        standing = work.standing(START + HOUR, START)
        assert (standing.events.amount, standing.failing, standing.dead, standing.given_up) == (0, [], 0, 0)
        assert standing.overdue.amount > 0
    notifying.delete("u-1")
    with notifying.storage.begin() as work:
        assert work.acks([incident.incident_id]) == {}
        assert work.contacts_of(["u-1"]) == []
        work.trim_shared(START + 2 * HOUR)
        assert [known.target for known in work.open_targets()] == ["shop.example"]
        assert work.replay("sent", 0, "hook", "", START) == 1


async def test_silences_and_subscribers_are_kept(notifying: Notifying) -> None:
    notifying.sign_up()
    with notifying.storage.begin() as work:
        work.put_silence(
            AlertSilence("s-1", Selector(label={"team": "shop"}), START, START + HOUR, "a\0b", "ada", START)
        )
        work.put_silence(AlertSilence("s-2", Selector(user="u-1"), START, START + MINUTE, "", "", START))
    for monitor in ("shop", "mail", "web"):
        notifying.tell(transition("up", "down", 1, monitor_id=monitor))
    await notifying.later(10_000)
    assert notifying.deliveries() == []
    notifying.clock.advance(MINUTE)
    assert end_silences(notifying.storage, notifying.clock.now_ms()) == 1
    await notifying.work()
    assert {each.state for each in notifying.deliveries()} == {"sent"}
    with notifying.storage.begin() as work:
        assert [each.silence_id for each in work.silences(notifying.clock.now_ms())] == ["s-1"]
        assert work.silences(0, "u-1") == []
        number, job = work.open_incidents_after(("", ""), 1)[0]
        flaps = replace(job, phase=Phase.FLAPPING, settles_at=START + HOUR)
        work.put_incidents([(number, flaps)], {(job.user_id, job.monitor_id): job.incident_id})
        key = job.user_id, job.monitor_id
        assert work.flapping([key, ("u-0", "none")]) == {key}
        assert work.open_incidents(phase=Phase.FLAPPING) == [flaps]
        assert flaps not in work.open_incidents(phase=Phase.OPEN)
        work.put_incidents([(number, job)], {key: job.incident_id})
        first, second = work.open_incidents_after(("", ""), 2)
        [(_, last)] = work.open_incidents_after((second[1].user_id, second[1].monitor_id), 2)
        assert [first[1].monitor_id, second[1].monitor_id, last.monitor_id] == ["mail", "shop", "web"]
        for name, confirmed_at in (("a", START), ("b", 0)):
            work.put_subscriber(Subscriber(f"s-{name}", "shops", f"{name}@example.org", "", START, confirmed_at))
        assert [each.email for each in work.subscribers("shops")] == ["a@example.org"]
        work.trim_subscribers(START + 1)
        assert (work.subscriber("s-a") is None, work.subscriber("s-b") is None) == (False, True)
        work.put_announced([Announced("shops", last.incident_id, "Web", START, "u-1", "web")])
        assert work.announced("shops")[0].monitor_id == "web"
        assert work.pages_with_subscribers() == {"shops"}
        assert work.asked_since("shops", START - 1) == 1
        assert [each.silence_id for each in work.silences_of(["u-1"], START)] == ["s-1"]
        assert work.partitions_of_incidents([("u-1", "web")]) == {("u-1", "web"): 0}
        assert [each.name for each in work.announced("shops")] == ["Web"]
        work.delete_announced("shops", [last.incident_id])
        assert work.announced("shops") == []


async def test_two_notifiers_count_one_target_together(settings: Settings) -> None:
    if not settings.database:
        pytest.skip("SQLite takes one notifier")
    one, other = Notifying(settings), Notifying(settings)
    for n in range(30):
        one.sign_up(f"u-{n}")
    for n in range(30):
        chosen = (one, other)[n % 2]
        # they read one topic
        chosen.next_offset = 100 + n
        chosen.tell(transition("up", "down", n / 10, f"u-{n}"))
        chosen.plan()
    with one.storage.look() as work:
        assert [known.failing for known in work.open_targets()] == [30]
    one.close()
    other.close()


@pytest.mark.parametrize("verdict", [Verdict.SENT, Verdict.FAILED, Verdict.GONE])
async def test_a_user_who_is_purged_while_a_message_is_sent_leaves_nothing_behind(
    notifying: Notifying, verdict: Verdict
) -> None:
    def purged_meanwhile(address: Address, message: Message) -> AttemptOutcome:
        if message.user_id:
            notifying.delete(message.user_id)
        return AttemptOutcome(verdict, "status 410")

    notifying.receiver.answers = purged_meanwhile
    notifying.sign_up("u-1")
    notifying.tell(transition("up", "down"))
    await notifying.work()
    assert len(notifying.receiver.got) == 2
    assert {each.user_id for each in notifying.deliveries()} == {""}
    with notifying.storage.begin() as work:
        assert {each.user_id for each in work.list_channels()} <= {""}
        assert not work.list_channels("u-1")
        outcomes = work.take_outcomes(START, START + MINUTE, 10)
    assert len(outcomes) == 1, "that of the operators' message"
    assert all(b"u-1@example.com" not in each.value for each in outcomes)


def test_an_incident_that_one_notifier_opens_is_ended_by_another_one_that_learns_that_its_monitor_is_gone(
    settings: Settings,
) -> None:
    if not settings.database:
        pytest.skip("SQLite takes one notifier")
    one, other = Notifying(settings), Notifying(settings)
    one.sign_up()
    one.tell(transition("up", "down"), transition("down", "up", 60))
    one.judge()
    again = transition("up", "down", 120)
    one.tell(again)
    other.next_offset = one.next_offset
    with ThreadPoolExecutor(1) as elsewhere, one.storage.begin() as work:
        # as a pass of judging does
        work.lock([Partition(Topics.of(settings).transitions, 0)])
        before = work.incidents([("u-1", "shop")])["u-1", "shop"]
        deleting = elsewhere.submit(other.delete, "u-1", "shop")
        wait_until("the other notifier waits", lambda: locks_awaited(settings))
        after = after_transition(before, again).incident
        assert after is not None
        assert after.incident_id != before.incident_id
        work.put_incidents([(0, after)], {("u-1", "shop"): before.incident_id})
    deleting.result()
    with one.storage.look() as work:
        ends = [each.transition.reason for each in work.events_to_judge([0], START + HOUR, 10)]
    assert ends == [again.reason, "it was deleted"]
    one.close()
    other.close()


def locks_awaited(settings: Settings) -> int:
    """Return how many connections to the database wait for a lock."""
    engine = create_engine(parse_url(database_url_of(settings)))
    with engine.connect() as connection:
        waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        found = int(connection.execute(waits).scalar_one())
    engine.dispose()
    return found


def test_without_a_notifier_there_is_nothing_to_read_and_a_sentence_says_so(settings: Settings) -> None:
    with pytest.raises(StoreError, match=r"when (one|a notifier) starts"):
        open_existing(settings)


def test_a_second_notifier_is_refused_by_sqlite_alone(settings: Settings) -> None:
    url = database_url_of(settings)
    with as_writer(url, SCHEMA.process):
        if url.startswith("sqlite"):
            with pytest.raises(StoreError, match="The notifier of process"), as_writer(url, SCHEMA.process):
                pass
        else:
            with as_writer(url, SCHEMA.process):
                pass


async def test_two_notifiers_send_each_message_once_and_leave_each_others_attempts_alone(settings: Settings) -> None:
    if not settings.database:
        pytest.skip("SQLite takes one notifier")
    one, other = Notifying(settings), Notifying(settings)
    for number in range(40):
        one.sign_up(f"u-{number}")
        one.tell(transition("up", "down", user_id=f"u-{number}", target=f"t-{number}.example"))
    one.plan()
    for _ in range(10):
        await one.dispatcher.turn()
        await other.dispatcher.turn()
        # what the other one is at is not in doubt
        assert resolve_doubts(one.storage, one.rules, START, everything=False) == 0
    await one.send()
    await other.send()
    got = one.receiver.got + other.receiver.got
    assert len({message.message_id for _, message in got}) == len(got) == 41
    assert one.receiver.got
    assert other.receiver.got
    one.close()
    other.close()


async def test_an_outcome_waits_until_its_topic_has_it_and_is_published_by_one_notifier(notifying: Notifying) -> None:
    notifying.sign_up()
    notifying.tell(transition("up", "down"))
    await notifying.work()
    with notifying.storage.begin() as work:
        taken = work.take_outcomes(START, START + MINUTE, 10)
        assert len(taken) == 2
        # SQLite has one notifier, which takes them again after a restart
        others = work.take_outcomes(START, START + MINUTE, 10)
        assert others == ([] if notifying.settings.database_url.startswith("postgresql") else taken)
        assert work.take_outcomes(START + MINUTE, START + 2 * MINUTE, 10) == taken
        work.delete_outcomes([each.seq for each in taken])
        assert not work.has_outcomes(START + HOUR)
