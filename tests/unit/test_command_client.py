"""Commands and their answers, over a broker and a worker that are made up."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import BrokerUnavailable, InvalidInput
from everwatch.kafka.command_client import (
    Asked,
    Patience,
    Unanswered,
    ask,
    asked_of,
    send_inputs,
    signal_asked,
    signup_asked,
)
from everwatch.kafka.topics import Topics
from everwatch.model import Asker, CommandOutcome, Reply

START_MS = 1_795_262_400_000
TOPICS = Topics.of(load_settings())
Judge = Callable[[str, str], list[Reply]]


def reply(user_id: str, command_id: str, answer: CommandOutcome = CommandOutcome.DONE) -> Reply:
    return Reply(command_id, user_id, "m", "pause", answer, "", "", 1, START_MS)


def commands(*ids: str, user_id: str = "u") -> list[Asked]:
    return [asked(command_id, user_id, line) for line, command_id in enumerate(ids, 1)]


def asked(command_id: str, user_id: str = "u", line: int = 0) -> Asked:
    return Asked(Asker("pause", user_id, "m", command_id), command_id.encode(), line)


class World:
    """A broker, and a worker that answers what is durable as ``judge`` says; each look at the replies takes time."""

    def __init__(
        self, judge: Judge = lambda user, command: [reply(user, command)], answers_at_once: int = 1_000
    ) -> None:
        self.clock = SettableClock(START_MS)
        self.judge = judge
        self.answers_at_once = answers_at_once
        self.queued: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str]] = []
        self.answers: list[Reply] = []
        self.most_under_way = 0
        self.taken = self.looks = 0
        # at one look of so many there are answers
        self.answers_each = 1
        self.is_gone = False

    def send(self, topic: str, user_id: str, value: bytes) -> None:
        assert topic == "commands"
        self.queued.append((user_id, value.decode()))

    def finish(self) -> None:
        if self.is_gone:
            raise BrokerUnavailable("gone")
        for user_id, command_id in self.queued:
            self.answers += self.judge(user_id, command_id)
        self.sent += self.queued
        self.queued.clear()
        self.most_under_way = max(self.most_under_way, len(self.sent) - self.taken)

    def take(self, timeout_s: float) -> Sequence[Reply]:
        self.looks += 1
        if self.looks % self.answers_each:
            self.clock.advance(int(timeout_s * 1000))
            return []
        self.clock.advance(int(timeout_s * 1000))
        some, self.answers = self.answers[: self.answers_at_once], self.answers[self.answers_at_once :]
        self.taken += len(some)
        return some

    def ask(
        self, asked: Iterator[Asked] | list[Asked], timeout_s: float = 30, **limits: int
    ) -> Iterator[tuple[Asked, Reply]]:
        return ask(TOPICS, asked, self, self, self.clock, Patience(timeout_s, **limits))


def test_a_command_gets_its_own_answer_and_not_that_of_others() -> None:
    def judge(user_id: str, command_id: str) -> list[Reply]:
        return [
            reply("other", command_id),
            reply(user_id, "another"),
            reply(user_id, command_id, CommandOutcome.REFUSED),
        ]

    [(found, answer)] = World(judge).ask(commands("c-1"))
    assert (found.asker.command_id, answer.user_id, answer.answer) == ("c-1", "u", CommandOutcome.REFUSED)


def test_an_answer_that_comes_twice_is_told_once() -> None:
    world = World(lambda user, command: [reply(user, command), reply(user, command, CommandOutcome.REPEATED)])
    assert [r.answer for _, r in world.ask(commands("c-1", "c-2"))] == [CommandOutcome.DONE, CommandOutcome.DONE]


def test_one_id_given_to_two_commands_has_two_answers_in_their_order() -> None:
    found = [(each.line, answer.answer) for each, answer in World().ask(commands("same", "same"))]
    assert found == [(1, CommandOutcome.DONE), (2, CommandOutcome.DONE)]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, "No worker answered within 30 s: the record stays on the topic and is carried out when one runs."),
        (3, "No worker answered 3 records within 30 s: they stay on the topic and are carried out when one runs."),
    ],
)
def test_silence_is_told_in_a_sentence_and_with_the_status_of_no_broker(count: int, told: str) -> None:
    world = World(lambda user, command: [])
    with pytest.raises(Unanswered) as caught:
        list(world.ask(commands(*map(str, range(count)))))
    assert (str(caught.value), caught.value.exit_code) == (told, 3)
    assert world.clock.now_ms() - START_MS == 30_000
    assert len(world.sent) == count


def test_while_answers_come_nobody_gives_up_however_long_it_takes() -> None:
    world = World(answers_at_once=1)
    world.answers_each = 3
    assert len(list(world.ask(commands(*map(str, range(100))), timeout_s=1))) == 100
    assert world.clock.now_ms() - START_MS == 75_000


def test_what_others_are_told_does_not_prolong_the_wait() -> None:
    world = World(lambda user, command: [reply("other", str(n)) for n in range(1_000)], answers_at_once=1)
    with pytest.raises(Unanswered):
        list(world.ask(commands("c-1"), timeout_s=5))
    assert world.clock.now_ms() - START_MS == 5_000


def test_a_million_commands_would_not_be_held_in_memory() -> None:
    world = World(answers_at_once=7)
    made = 0

    def many() -> Iterator[Asked]:
        nonlocal made
        for number in range(5_000):
            made += 1
            yield asked(str(number))

    answered = 0
    for _ in world.ask(many(), at_once=100):
        answered += 1
        assert made - answered <= 100
    assert answered == 5_000
    assert world.most_under_way <= 100


def test_commands_nobody_waits_for_reach_the_broker_some_at_a_time() -> None:
    world = World()
    most = 0

    def many() -> Iterator[Asked]:
        nonlocal most
        for number in range(1_050):
            most = max(most, number + 1 - len(world.sent))
            yield asked(str(number))

    send_inputs(TOPICS, many(), world, at_once=100)
    assert [int(command_id) for _, command_id in world.sent] == list(range(1_050))
    assert most <= 100


def test_a_broker_that_takes_nothing_ends_the_asking() -> None:
    world = World()
    world.is_gone = True
    with pytest.raises(BrokerUnavailable):
        list(world.ask(commands("c-1")))


@given(
    ids=st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("abcdef")), max_size=40),
    answers_at_once=st.integers(1, 50),
    repeats=st.integers(1, 3),
)
def test_every_command_is_answered_exactly_once(ids: list[tuple[str, str]], answers_at_once: int, repeats: int) -> None:
    world = World(lambda user, command: [reply(user, command)] * repeats, answers_at_once)
    wanted = [asked(command_id, user_id, line) for line, (user_id, command_id) in enumerate(ids, 1)]
    answered = [(each, r) for each, r in world.ask(wanted)]
    assert sorted(each.line for each, _ in answered) == list(range(1, len(ids) + 1))
    assert all(each.asker.key == r.key for each, r in answered)


# --- what may be sent -------------------------------------------------------------------------------------------------


def test_a_command_without_an_id_gets_one_of_its_own() -> None:
    first, second = (asked_of({"command": "pause", "user_id": "u", "monitor_id": "m"}) for _ in range(2))
    assert len(first.asker.command_id) == 32
    assert first.asker.command_id != second.asker.command_id
    assert orjson.loads(first.value) == {
        "command": "pause",
        "user_id": "u",
        "monitor_id": "m",
        "command_id": first.asker.command_id,
    }


def test_a_command_keeps_the_id_it_has() -> None:
    wanted = {"command": "pause", "user_id": "u", "monitor_id": "m", "command_id": "mine"}
    assert asked_of(wanted, 7) == Asked(Asker("pause", "u", "m", "mine"), orjson.dumps(wanted), 7)


def test_a_signup_gets_an_id_only_where_one_is_given_or_an_answer_is_wanted() -> None:
    value = b'{"user_id": "u", "plan": "pro" }'
    assert signup_asked(value) == Asked(Asker("signup", "u"), value)
    named = signup_asked(value, signup_id="mine")
    assert (named.asker.signup_id, orjson.loads(named.value)["signup_id"]) == ("mine", "mine")
    first, second = (signup_asked(value, ask=True, line=4) for _ in range(2))
    assert first.asker.key != second.asker.key
    assert (first.line, orjson.loads(first.value)["signup_id"]) == (4, first.asker.signup_id)
    # the one that is asked with counts, whatever the line says
    other = signup_asked(b'{"user_id": "u", "signup_id": "theirs"}', signup_id="mine")
    assert other.asker.signup_id == "mine"
    with pytest.raises(InvalidInput, match=r"this field is missing \(at \$\.user_id\)"):
        signup_asked(b"{ }", ask=True)


def test_each_input_goes_to_its_own_topic() -> None:
    signup, signal = signup_asked(b'{"user_id": "u"}'), signal_asked(b'{"user_id": "u", "monitor_id": "m"}', ask=True)
    command = asked_of({"command": "pause", "user_id": "u", "monitor_id": "m"})
    assert [each.topic_of(TOPICS) for each in (signup, signal, command)] == ["signups", "signals", "commands"]
    assert signal.asker.signal_id


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"command": "pause", "user_id": "u"}, "a pause needs the monitor_id (at $.monitor_id)"),
        ({"command": "dance", "user_id": "u"}, "'dance' is not one of put, "),
        ({"command": "pause", "user_id": "\udc80", "monitor_id": "m"}, "this cannot be written as JSON: "),
    ],
)
def test_what_a_worker_would_refuse_is_not_sent(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked_of(wanted)
    assert str(caught.value).startswith(told)
