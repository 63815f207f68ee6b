"""A notifier that is killed at any step of intake and delivery loses nothing, and tells nothing twice.

Each run dies at another point: before and after each commit, and before and after a message reaches its receiver. The
next notifier over the same database then reads what Kafka gives it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete
from support.new_databases import open_new_storage
from support.notifying import RULES, Notifying, Receiver, transition

from everwatch.core.config import Settings
from everwatch.kafka.consumed_record import Record
from everwatch.model import Transition
from everwatch.notifier.addresses import Address
from everwatch.notifier.alerts import Message
from everwatch.notifier.senders.outcome import AttemptOutcome
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.tables import metadata

STAGES = [
    [transition("up", "down"), transition("up", "late", 1, monitor_id="job")],
    [transition("down", "up", 60), transition("late", "late", 61, monitor_id="job", reminder=True)],
]


class Killed(BaseException):
    """The process is gone: nothing of it goes on."""


class Deadline:
    """Kills at the point with this number; what is asked for afterwards is killed, too."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.passed = 0

    def pass_point(self) -> None:
        self.passed += 1
        self._left -= 1
        if self._left <= 0:
            raise Killed


class DyingStorage(Storage):
    """Storage of a process that may be killed around each commit."""

    deadline: Deadline

    @contextmanager
    def begin(self) -> Iterator[Work]:
        with super().begin() as work:
            yield work
            self.deadline.pass_point()
        self.deadline.pass_point()


class DyingReceiver(Receiver):
    """Receivers of a process that may be killed around each attempt."""

    deadline: Deadline

    async def send(self, *given: object, from_user: bool = False, whose: str = "") -> AttemptOutcome:
        self.deadline.pass_point()
        outcome = await super().send(*given, from_user=from_user, whose=whose)
        self.deadline.pass_point()
        return outcome


NEVER = Deadline(10**9)


def notifying_at(
    storage: Storage, rules: str, receiver: DyingReceiver, deadline: Deadline, next_offset: int = 0
) -> Notifying:
    """A process that knows nothing but what the database holds."""
    storage.deadline = NEVER  # type: ignore[attr-defined]
    made = Notifying(Settings(), rules, receiver, receiver, storage=storage)
    made.receiver, made.next_offset = receiver, next_offset
    storage.deadline = receiver.deadline = deadline  # type: ignore[attr-defined]
    return made


async def live(notifying: Notifying, records: list[Record]) -> None:
    """One process's life: decide on doubts, take in what the topic gives, plan and send."""
    notifying.resolve_doubts()
    notifying.take(records)
    await notifying.work()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """One database for all runs of a test, each of which empties it: to make one takes longer than a run."""
    opened = open_new_storage(Settings(data_dir=tmp_path))
    opened.__class__ = DyingStorage
    yield opened
    opened.close()


def emptied(storage: Storage) -> Storage:
    with storage.engine.begin() as connection:
        for table in metadata.tables.values():
            connection.execute(delete(table))
    return storage


async def run(
    storage: Storage, rules: str, kill_at: int, stages: list[list[Transition]] = STAGES
) -> tuple[list[tuple[Address, Message]], int]:
    """All that receivers got in a run that is killed once, and the number of points that it passed."""
    receiver, deadline = DyingReceiver(), Deadline(kill_at)
    notifying = notifying_at(emptied(storage), rules, receiver, NEVER)
    for user_id in sorted({each.user_id for stage in stages for each in stage}):
        notifying.sign_up(user_id)
    notifying = notifying_at(storage, rules, receiver, deadline, notifying.next_offset)
    records: list[Record] = []
    for stage in stages:
        # from the beginning of the topic: offsets say what is known
        records += [notifying.record(each) for each in stage]
        try:
            await live(notifying, records)
        except Killed:
            # what its transaction had not committed is rolled back; nothing else of it is left
            notifying = notifying_at(storage, rules, receiver, NEVER, notifying.next_offset)
            await live(notifying, records)
    return receiver.got, deadline.passed


def ids(got: list[tuple[Address, Message]]) -> set[str]:
    return {message.message_id for _, message in got}


async def test_killed_at_any_point_no_message_is_lost_and_each_is_known_by_its_id(storage: Storage) -> None:
    whole, points = await run(storage, RULES, 10**9)
    assert len(ids(whole)) == len(whole) == 4
    assert points > 20
    for number in range(1, points + 1):
        got, _ = await run(storage, RULES, number)
        assert ids(got) == ids(whole), f"killed at point {number}"
        # at most what was under way together is sent again, under the same id
        assert len(got) <= len(whole) + 2, f"killed at point {number}"


async def test_killed_at_any_point_a_route_that_skips_doubts_sends_nothing_twice(storage: Storage) -> None:
    rules = RULES.replace('name = "mail"', 'name = "mail"\ndoubt = "skip"').replace(
        'name = "hook"', 'name = "hook"\ndoubt = "skip"'
    )
    whole, points = await run(storage, rules, 10**9)
    lost = 0
    for number in range(1, points + 1):
        got, _ = await run(storage, rules, number)
        assert len(ids(got)) == len(got), f"killed at point {number}"
        lost += ids(got) != ids(whole)
    assert lost, "a message that may have been sent is not sent again"


async def test_killed_at_any_point_the_incidents_of_a_target_and_an_executor_are_told_once(storage: Storage) -> None:
    rules = RULES.partition("[[users]]")[0] + "[[operators]]" + RULES.partition("[[operators]]")[2]
    numbers = range(25)
    down = [transition("up", "down", n / 10, f"u-{n}", executor="e-2") for n in numbers]
    up = [transition("down", "up", 60, f"u-{n}", executor="e-2") for n in numbers]
    lost = [
        transition("up", "down", 2 + n / 10, f"u-{n}", "own", target=f"t-{n}.example", executor="e-1", unreached=50)
        for n in numbers
    ]
    stages = [[*down, *lost], up]
    whole, points = await run(storage, rules, 10**9, stages)
    assert [alert.subject for _, message in whole for alert in message.alerts] == [
        "executor e-1",
        "target shop.example",
        "target shop.example",
    ]
    for number in range(1, points + 1):
        got, _ = await run(storage, rules, number, stages)
        assert ids(got) == ids(whole), f"killed at point {number}"
        with storage.look() as work:
            known = work.targets(["shop.example"])["shop.example"]
            assert (known.failing, known.is_open) == (0, False), f"killed at point {number}"
            assert work.outages()["e-1"].doubted == len(numbers), f"killed at point {number}"


@pytest.mark.parametrize("doubt", ["resend", "skip"])
async def test_what_becomes_of_a_message_in_doubt_is_said(tmp_path: Path, doubt: str) -> None:
    rules = RULES.replace('name = "hook"', f'name = "hook"\ndoubt = "{doubt}"')
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    notifying.sign_up()
    notifying.tell(transition("up", "down"))
    notifying.plan()
    with notifying.storage.begin() as work:
        work.claim([each.delivery_id for each in notifying.deliveries() if each.route == "hook"], 0)
    assert notifying.resolve_doubts() == 1
    [hook] = [each for each in notifying.deliveries() if each.route == "hook"]
    assert hook.state == {"resend": "pending", "skip": "skipped"}[doubt]
    assert hook.doubts == 1
    assert hook.reason.startswith("in doubt: the notifier ended during attempt 1; ")
    notifying.close()


async def test_a_message_in_doubt_is_sent_again_under_its_id_before_what_is_new(storage: Storage) -> None:
    receiver, rules = DyingReceiver(), RULES.replace('group_wait = "0s"', 'group_wait = "1s"')
    notifying = notifying_at(emptied(storage), rules, receiver, NEVER)
    notifying.sign_up("u-1")
    # the receivers have it, and the notifier is killed before it knows
    notifying.tell(transition("up", "down"))
    await notifying.work()
    receiver.deadline = Deadline(2)
    await notifying.later(1_000)
    receiver.got.clear()
    notifying = notifying_at(storage, rules, receiver, NEVER, notifying.next_offset)
    notifying.clock.advance(2_000)
    notifying.resolve_doubts()
    notifying.tell(transition("up", "down", 3, monitor_id="other"))
    # what is new is due before what is in doubt is sent
    notifying.plan()
    notifying.clock.advance(1_000)
    notifying.plan()
    for _ in range(3):
        await notifying.later(1_000)
    told = [[alert.monitor_id for alert in message.alerts] for address, message in receiver.got]
    assert sorted(told) == [["other"], ["other"], ["shop"], ["shop"]]
