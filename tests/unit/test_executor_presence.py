"""An executor that ends without being asked to is told from one that was stopped on purpose."""

import asyncio
from contextlib import suppress

import pytest
from support.processes import running
from support.waiting import PATIENCE

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import Settings, load_settings
from everwatch.core.errors import InvalidInput
from everwatch.diagnosis import Finding, System
from everwatch.diagnosis.checks import executors
from everwatch.diagnosis.checks.executors import ExecutorTraces
from everwatch.diagnosis.presence import SILENT_MS, ended_unasked
from everwatch.encoding.presence_notes import PresenceNote, decode_note, encode_note
from everwatch.encoding.trial_records import TrialOutcome, decode_trial, encode_trial
from everwatch.executor.executor_process import Executor
from everwatch.kafka.consumer_groups import Member
from everwatch.kafka.lag import Lag
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics
from everwatch.model import Status

TOPICS = Topics.of(Settings())
NOW = 1_795_262_400_000  # 2026-11-21T12:00:00Z
LONG_AGO = NOW - SILENT_MS - 1_000


def notes_of(kafka: MemoryKafka) -> list[PresenceNote]:
    return [decode_note(each.value) for each in kafka.records(TOPICS.trial_results)]


async def noted_by(kafka: MemoryKafka) -> None:
    """Wait for a note."""
    async with asyncio.timeout(30 * PATIENCE):
        while not notes_of(kafka):
            await asyncio.sleep(0.01)


def new_kafka() -> MemoryKafka:
    kafka = MemoryKafka(1)
    for topic in TOPICS.all:
        kafka.create(topic)
    return kafka


async def test_an_executor_says_that_it_is_at_work_and_that_it_was_asked_to_end() -> None:
    kafka = new_kafka()
    async with running(Executor(load_settings(partitions=1), MemoryClients(kafka), SystemClock(), "vm-7")):
        await noted_by(kafka)
    first, *_, last = notes_of(kafka)
    assert (first.executor, first.left) == ("vm-7", False)
    assert (last.executor, last.left, last.began_at) == ("vm-7", True, first.began_at)


async def test_an_executor_that_ends_by_a_fault_does_not_say_that_it_was_asked_to() -> None:
    kafka = new_kafka()
    executor = Executor(load_settings(partitions=1), MemoryClients(kafka), SystemClock(), "vm-7")
    with suppress(RuntimeError):
        async with running(executor):
            await noted_by(kafka)
            executor.fail(RuntimeError("a fault"))
            async with asyncio.timeout(30 * PATIENCE):
                await executor.stopping.wait()
    assert executor.failure is not None
    assert not any(note.left for note in notes_of(kafka))


def test_notes_and_outcomes_of_trials_are_not_taken_for_each_other() -> None:
    note = encode_note(PresenceNote("vm-7", 1, 2))[1]
    assert decode_note(note) == PresenceNote("vm-7", 1, 2)
    with pytest.raises(InvalidInput):
        decode_trial(note, TrialOutcome)
    outcome = encode_trial(TrialOutcome("t-1", Status.SUCCESS, "", 1, 2.0, executor="vm-7"))[1]
    for wrong in (outcome, b"", b"{", None, b'{"executor": "", "began_at": 1, "at": 2}'):
        with pytest.raises(InvalidInput):
            decode_note(wrong)


def notes(*given: PresenceNote) -> dict[str, PresenceNote]:
    return {note.executor: note for note in given}


def test_what_was_asked_to_end_lives_or_was_started_again_is_no_fault() -> None:
    killed = PresenceNote("vm-7", NOW - 900_000, LONG_AGO)
    assert ended_unasked(notes(killed), {}, {"vm-8"}, NOW) == {"vm-7": LONG_AGO}
    # its results are newer than its last note
    assert ended_unasked(notes(killed), {"vm-7": NOW - 1_000}, {"vm-8"}, NOW) == {}
    assert ended_unasked(notes(killed), {}, {"vm-7"}, NOW) == {}
    assert ended_unasked(notes(PresenceNote("vm-7", 1, LONG_AGO, left=True)), {}, (), NOW) == {}
    # it starts, or has only just ended
    assert ended_unasked(notes(PresenceNote("vm-7", 1, NOW - 5_000)), {}, (), NOW) == {}
    older = PresenceNote("vm-6", NOW - 900_000, NOW - 1_000)
    assert ended_unasked(notes(killed, older), {}, {"vm-6"}, NOW) == {"vm-7": LONG_AGO}
    successor = PresenceNote("vm-9", LONG_AGO + 1, NOW)
    assert ended_unasked(notes(killed, successor), {}, {"vm-9"}, NOW) == {}
    elsewhere = PresenceNote("other-9", LONG_AGO + 1, NOW)
    assert ended_unasked(notes(killed, elsewhere), {}, {"other-9"}, NOW) == {"vm-7": LONG_AGO}
    # one was started again, and two are gone
    two = PresenceNote("vm-5", NOW - 900_000, LONG_AGO - 1_000)
    assert ended_unasked(notes(killed, two, successor), {}, {"vm-9"}, NOW) == {"vm-7": LONG_AGO}


@pytest.fixture
def system() -> System:
    """A system with one executor in its group, and another one in the group of a region."""
    members = tuple(Member(f"everwatch-{name}", "h", frozenset()) for name in ("vm-8", "eu-1"))
    system = System(Settings(), "127.0.0.1:1", SettableClock(NOW), pause=lambda _: None)
    vars(system)["lag"] = vars(system)["later_lag"] = Lag(NOW, (), {"executor": members})
    return system


@pytest.fixture
def noted() -> dict[str, PresenceNote]:
    return notes(*(PresenceNote(name, 1, NOW - 1_000) for name in ("vm-8", "eu-1")))


def test_one_of_several_executors_that_is_killed_or_frozen_is_a_fault(
    system: System, noted: dict[str, PresenceNote]
) -> None:
    [finding] = executors.findings(system, ExecutorTraces({}, noted))
    assert finding.ok
    noted["far-7"] = PresenceNote("far-7", 1, LONG_AGO)
    [finding] = executors.findings(system, ExecutorTraces({}, noted))
    assert not finding.ok
    assert finding.says.startswith("everwatch-far-7 ended without leaving its group, or is frozen")
    assert "See on host far whether process 7 still runs" in finding.remedy


def test_one_that_was_stopped_on_purpose_is_a_remark(system: System, noted: dict[str, PresenceNote]) -> None:
    noted["far-7"] = PresenceNote("far-7", 1, LONG_AGO, left=True)
    [finding] = executors.findings(system, ExecutorTraces({}, noted))
    assert finding == Finding("executors", True, finding.says)
    assert finding.says.endswith("; stopped on purpose: everwatch-far-7 (left at 2026-11-21 11:59:34Z)")


def test_one_that_has_joined_at_the_second_look_is_no_fault(system: System, noted: dict[str, PresenceNote]) -> None:
    noted["vm-9"] = PresenceNote("vm-9", 1, LONG_AGO)
    later = Member("everwatch-vm-9", "h", frozenset())
    vars(system)["later_lag"] = Lag(NOW, (), {"executor": (*system.lag.members["executor"], later)})
    [finding] = executors.findings(system, ExecutorTraces({}, noted))
    assert finding.ok
