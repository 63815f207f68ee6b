"""A monitor explained: what is said of it, from what is known.

All in one file: cases of one function.
"""

from concurrent.futures import Future
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import MemberAssignment, MemberDescription
from msgspec.structs import replace

from everwatch.cli.commands.explain import processes_of
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.consumer_groups import members_of
from everwatch.kafka.group_members import owners_of
from everwatch.kafka.process_figures import GroupMembers
from everwatch.model import (
    Agenda,
    Align,
    At,
    Cron,
    Every,
    Maintenance,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Priority,
    Result,
    Retries,
    Status,
    User,
)
from everwatch.operations.explanation import MonitorFacts, Silence, explain
from everwatch.rules import lifecycle
from everwatch.store import StoredResult

MINUTE = 60_000
HOUR = 60 * MINUTE
NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
MINUTELY = Every(MINUTE, Align.EPOCH)
AT_WORK = GroupMembers("everwatch-a-1", "everwatch-b-2", ("everwatch-b-2",))
DEFAULT = Policy()


def monitor(schedule: Any = MINUTELY, policy: Policy = DEFAULT, since: int = NOON - HOUR, **spec: Any) -> Monitor:
    wanted = MonitorSpec("shop", "http", "{}", schedule, policy, **spec)
    return lifecycle.first_put("anna", wanted, Origin.SIGNUP, since, since)


def result(at: int, status: Status = Status.SUCCESS, **fields: Any) -> StoredResult:
    return StoredResult(Result("anna", "shop", at, "http", 1, status, "", at + 50, 10.0, **fields), at + 100, 1)


def known(monitor: Monitor, *results: StoredResult, **fields: Any) -> MonitorFacts:
    usual: dict[str, Any] = {
        "user": User("anna", "pro", {}, ("shop",), 1, 1),
        "partition": 3,
        "transitions": (),
        "stored_at": max((r.stored_at for r in results), default=0),
        "owners": AT_WORK,
        "inline": False,
    }
    return MonitorFacts(monitor=monitor, results=results, **usual | fields)


def silence(known: MonitorFacts, now: int = NOON) -> Silence | None:
    return explain(known, now).silence


# --- what comes next ------------------------------------------------------------------------------------------------


def test_the_next_runs_are_told_in_utc_and_by_the_clock_of_the_schedules_zone() -> None:
    runs = explain(known(monitor(Cron("0 9 * * *", "Europe/Berlin"))), NOON).next_runs
    assert len(runs) == 5
    assert (runs[0].utc, runs[0].local) == ("2026-11-22T08:00:00Z", "2026-11-22T09:00:00+01:00")
    assert runs[0].at == NOON + 20 * HOUR


def test_the_next_runs_end_where_the_monitor_ends() -> None:
    runs = explain(known(monitor(end_at=NOON + 2 * MINUTE)), NOON).next_runs
    assert [run.at for run in runs] == [NOON + MINUTE, NOON + 2 * MINUTE]


def test_a_paused_monitor_runs_next_when_its_pause_is_over() -> None:
    paused = lifecycle.pause(monitor(), NOON - MINUTE, until=NOON + HOUR)
    explanation = explain(known(paused), NOON)
    assert explanation.next_runs[0].at == NOON + HOUR + MINUTE
    assert explanation.agenda.resume_at == NOON + HOUR
    assert explain(known(lifecycle.pause(monitor(), NOON)), NOON).next_runs == ()


def test_a_pending_retry_is_told() -> None:
    failing = monitor(policy=Policy(retries=Retries(most=2)))
    waiting = lifecycle.after_result(failing, result(NOON, Status.FAILURE).result)
    agenda = explain(known(waiting), NOON).agenda
    assert (agenda.retry_of, agenda.retry_attempt) == (NOON, 2)
    assert agenda.retry_at > NOON


# --- what is so now -------------------------------------------------------------------------------------------------


def test_state_reason_and_version_are_the_monitors() -> None:
    down = lifecycle.after_result(monitor(), replace(result(NOON, Status.FAILURE).result, reason="timed out"))
    explanation = explain(known(down), NOON)
    assert (explanation.state, explanation.reason, explanation.state_since) == ("down", "timed out", NOON)
    assert (explanation.kind, explanation.version, explanation.origin) == ("http", 1, "signup")


def test_only_what_differs_from_the_default_policy_is_told() -> None:
    assert explain(known(monitor()), NOON).policy == {}
    policy = Policy(timeout_ms=5_000, retries=Retries(most=3))
    assert explain(known(monitor(policy=policy)), NOON).policy == {"timeout_ms": 5_000, "retries": {"most": 3}}


def test_retries_that_equal_the_default_without_being_it_are_not_told() -> None:
    # as they come from the database
    stored = Policy(retries=Retries(most=0), failures_to_down=2)
    assert explain(known(monitor(policy=stored)), NOON).policy == {"failures_to_down": 2}


def test_a_monitor_that_its_worker_judges_has_no_executor() -> None:
    explained = explain(known(monitor(), inline=True), NOON)
    assert explained.inline
    assert explained.owners == GroupMembers("everwatch-a-1", "", ())
    assert list(processes_of(explained)) == ["worker everwatch-a-1 (judges it itself: no executor takes part)"]
    assert list(processes_of(explain(known(monitor()), NOON))) == [
        "worker everwatch-a-1",
        "executor everwatch-b-2 (claims its ticks)",
    ]


def test_a_region_without_an_executor_is_told() -> None:
    owners = GroupMembers("w", "e1", ("e1", "e2"), {"eu": "e1", "us": ""})
    assert list(processes_of(explain(known(monitor(), owners=owners), NOON))) == [
        "worker w",
        "executor e1 (claims its ticks in eu)",
        "executor e2",
        "no executor claims its ticks in us",
    ]


def test_maintenance_is_the_monitors_and_its_users() -> None:
    own = monitor(policy=Policy(maintenance=(Maintenance(NOON - HOUR, NOON + MINUTE),)))
    user = User("anna", "pro", {}, (), 1, 1, (Maintenance(NOON, NOON + HOUR),))
    assert explain(known(own), NOON).maintenance_until == NOON + MINUTE
    assert explain(known(own, user=user), NOON).maintenance_until == NOON + HOUR
    assert explain(known(monitor(), user=None), NOON).maintenance_until == 0
    agenda = Agenda(maintained_from=NOON - HOUR, maintained_until=NOON + MINUTE)
    asked_for = msgspec.structs.replace(monitor(), agenda=agenda)
    assert explain(known(asked_for), NOON).maintenance_until == NOON + MINUTE


def test_the_newest_five_results_are_shown() -> None:
    newest = [result(NOON - i * MINUTE) for i in range(9)]
    shown = explain(known(monitor(), *newest), NOON).results
    assert [r.scheduled_at for r in shown] == [NOON - i * MINUTE for i in range(5)]


# --- silence --------------------------------------------------------------------------------------------------------


def test_a_monitor_whose_results_stop_coming_is_told_from_which_tick_on() -> None:
    found = silence(known(monitor(), result(NOON - 10 * MINUTE), stored_at=NOON))
    assert found is not None
    assert (found.since, found.due_at) == (NOON - 10 * MINUTE, NOON - 9 * MINUTE)


def test_a_monitor_without_any_result_is_silent_since_it_was_put() -> None:
    found = silence(known(monitor(since=NOON - HOUR)))
    assert found is not None
    assert (found.since, found.due_at) == (NOON - HOUR, NOON - 59 * MINUTE)


def test_silence_begins_a_minute_after_the_timeout_of_the_tick() -> None:
    # ticks at noon and each minute after; the timeout is 10 s
    one = known(monitor(since=NOON - 1), stored_at=NOON)
    assert silence(one, NOON + 70_000 - 1) is None
    assert silence(one, NOON + 70_000) is not None
    answered = known(monitor(since=NOON - 1), result(NOON), stored_at=NOON)
    assert silence(answered, NOON + MINUTE + 70_000 - 1) is None
    assert silence(answered, NOON + MINUTE + 70_000) is not None


def test_results_of_the_last_ticks_that_are_not_overdue_yet_break_no_silence_that_is_none() -> None:
    assert silence(known(monitor(), result(NOON - MINUTE))) is None


def test_a_skipped_span_is_an_answer() -> None:
    span = result(NOON - 30 * MINUTE, Status.SKIPPED, skipped_until=NOON - MINUTE, skipped_count=30)
    assert silence(known(monitor(), span)) is None


def test_a_manual_run_is_no_answer_to_a_tick() -> None:
    found = silence(known(monitor(), result(NOON - 1_001, manual=True), result(NOON - HOUR + MINUTE)))
    assert found is not None
    assert found.since == NOON - 59 * MINUTE


@pytest.mark.parametrize(
    "quiet",
    [
        known(monitor(), inline=True),
        known(lifecycle.pause(monitor(), NOON - HOUR)),
        known(monitor(since=NOON - MINUTE)),
        known(monitor(start_at=NOON + HOUR)),
        known(monitor(max_runs=1), result(NOON - 59 * MINUTE)),
        known(monitor(At(NOON + MINUTE))),
    ],
    ids=["inline", "paused", "just put", "not begun", "ran for the last time", "task not due yet"],
)
def test_a_monitor_that_owes_no_result_is_not_silent(quiet: MonitorFacts) -> None:
    assert silence(quiet) is None


def test_a_task_that_was_due_and_has_no_result_is_silent() -> None:
    found = silence(known(monitor(At(NOON - 30 * MINUTE))))
    assert found is not None
    assert found.due_at == NOON - 30 * MINUTE


@pytest.mark.parametrize(
    ("owners", "stored_at", "told"),
    [
        (GroupMembers("", "", ("e",)), NOON, "no worker owns its partition"),
        (GroupMembers("w", "", ()), NOON, "no executor"),
        (AT_WORK, NOON - HOUR, "executors or the sink are behind or gone"),
        (None, NOON - HOUR, "if workers run; executors or the sink are behind or gone"),
        (AT_WORK, NOON - 1_000, "executors are behind or gone: results of other monitors are stored"),
    ],
)
def test_the_cause_of_silence_is_told_as_far_as_it_is_known(
    owners: GroupMembers | None, stored_at: int, told: str
) -> None:
    found = silence(known(monitor(), owners=owners, stored_at=stored_at))
    assert found is not None
    assert told in found.cause


# --- the run that the state rests on ----------------------------------------------------------------------------------


def begun_late(at: int, late_ms: int) -> StoredResult:
    found = result(at)
    return replace(found, result=replace(found.result, started_at=at + late_ms))


def test_the_newest_scheduled_run_is_told_with_its_age() -> None:
    run = explain(known(monitor(), result(NOON - 20_000, manual=True), result(NOON - MINUTE)), NOON).last_run
    assert run is not None
    assert (run.due_at, run.age_ms, run.late_ms, run.is_stale) == (NOON - MINUTE, MINUTE - 50, 50, False)
    assert explain(known(monitor(), result(NOON, manual=True)), NOON).last_run is None


def test_a_state_that_rests_on_a_run_that_began_when_the_next_was_due_is_stale() -> None:
    for late_ms, is_stale in ((59_999, False), (60_001, True), (398_000, True)):
        run = explain(known(monitor(), begun_late(NOON - 7 * MINUTE, late_ms), stored_at=NOON), NOON).last_run
        assert run is not None
        assert (run.late_ms, run.is_stale) == (late_ms, is_stale)


def test_a_retry_is_late_by_intention() -> None:
    run = explain(
        known(monitor(), replace(begun_late(NOON - MINUTE, 300_000), result=result(NOON, attempt=2).result)), NOON
    )
    assert run.last_run is not None
    assert not run.last_run.is_stale


def test_a_state_after_which_everything_due_was_skipped_for_longer_than_the_grace_is_stale() -> None:
    span = result(NOON - 30 * MINUTE, Status.SKIPPED, skipped_until=NOON - MINUTE, skipped_count=30)
    run = explain(known(monitor(), span, result(NOON - 31 * MINUTE)), NOON).last_run
    assert run is not None
    assert (run.due_at, run.skipped_since, run.is_stale) == (NOON - 31 * MINUTE, 30, True)
    one = result(NOON - MINUTE, Status.SKIPPED, skipped_until=NOON - MINUTE, skipped_count=1)
    run = explain(known(monitor(), one, result(NOON - 2 * MINUTE)), NOON).last_run
    assert run is not None
    assert (run.skipped_since, run.is_stale) == (1, False)


def test_a_paused_monitor_does_not_go_stale() -> None:
    paused = lifecycle.pause(monitor(), NOON - MINUTE)
    run = explain(known(paused, begun_late(NOON - 30 * MINUTE, 398_000)), NOON).last_run
    assert run is not None
    assert not run.is_stale


# --- who is at work -------------------------------------------------------------------------------------------------


class Groups:
    """Answers as an AdminClient does: group by group, with members or an error."""

    def __init__(self, **members: list[MemberDescription]) -> None:
        self._members = members

    def describe_consumer_groups(self, group_ids: list[str], request_timeout: float) -> dict[str, Future[Any]]:
        futures: dict[str, Future[Any]] = {}
        for group_id in group_ids:
            futures[group_id] = Future()
            if self._members:
                description = type(
                    "Description", (), {"members": self._members[group_id.replace("-", "_").replace(".", "_")]}
                )
                futures[group_id].set_result(description)
            else:
                futures[group_id].set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        return futures


def member(client_id: str, topic: str, *partitions: int, instance: str | None = None) -> MemberDescription:
    assigned = [TopicPartition(topic, number) for number in partitions]
    return MemberDescription(f"{client_id}-id", client_id, "host", MemberAssignment(assigned), instance)


def test_the_owners_of_a_partition_are_the_members_it_is_assigned_to() -> None:
    groups: Any = Groups(
        everwatch=[member("w1", "commands", 0, 1), member("w2", "commands", 2, 3)],
        everwatch_executors=[member("e2", "ticks.high", 3), member("e1", "ticks", 3), member("e3", "ticks", 4)],
    )
    assert owners_of(groups, Settings(), 3, Priority.NORMAL) == GroupMembers("w2", "e1", ("e1", "e2", "e3"))
    assert owners_of(groups, Settings(), 3, Priority.HIGH).executor == "e2"
    assert owners_of(groups, Settings(), 7, Priority.NORMAL) == GroupMembers("", "", ("e1", "e2", "e3"))


def test_each_region_has_owners_of_its_own() -> None:
    groups: Any = Groups(
        everwatch=[member("w1", "commands", 0)],
        everwatch_executors_eu=[member("e1", "ticks.eu", 0), member("e2", "ticks.eu", 1)],
        everwatch_executors_us=[],
    )
    settings = Settings(regions=("eu", "us"))
    found = owners_of(groups, settings, 0, Priority.NORMAL, regions=("eu", "us", "unnamed"))
    assert found == GroupMembers("w1", "e1", ("e1", "e2"), {"eu": "e1", "us": "", "unnamed": ""})


def test_two_workers_of_one_name_are_two_and_the_consumers_of_an_executor_are_one() -> None:
    groups: Any = Groups(
        workers=[member("w", "commands", 0, instance="1-a"), member("w", "commands", 1, instance="1-b")],
        executors=[member("e", "ticks", 0), member("e", "ticks.low", 1)],
    )
    found = members_of(groups, ["workers", "executors"])
    assert [each.partitions for each in found["workers"]] == [{("commands", 0)}, {("commands", 1)}]
    assert [each.partitions for each in found["executors"]] == [{("ticks", 0), ("ticks.low", 1)}]


def test_groups_without_members_own_nothing() -> None:
    groups: Any = Groups(everwatch=[], everwatch_executors=[])
    assert owners_of(groups, Settings(), 0, Priority.NORMAL) == GroupMembers("", "", ())


def test_a_broker_that_does_not_answer_is_told_as_such() -> None:
    groups: Any = Groups()
    with pytest.raises(BrokerUnavailable, match="within 3 s"):
        owners_of(groups, Settings(), 0, Priority.NORMAL)
