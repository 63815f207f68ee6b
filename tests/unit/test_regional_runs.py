"""Verdicts on runs in several regions: the quorum, silent regions, and what need not be stored."""

import msgspec
import pytest

from everwatch.model import Every, Monitor, MonitorSpec, Origin, Policy, Quorum, Result, Retries, State, Status
from everwatch.rules import lifecycle
from everwatch.rules.regional_runs import MOST_RUNS, RegionalAnswers, after_region, after_waiting

AT = 1_800_000_000_000
REGIONS = ("ap", "eu", "us")
OK, BAD, SKIPPED = Status.SUCCESS, Status.FAILURE, Status.SKIPPED


class Watched:
    """A monitor in three regions, as a worker judges it."""

    def __init__(self, quorum: Quorum = Quorum.MAJORITY, state: State = State.UP, **policy: object) -> None:
        spec = MonitorSpec(
            "m", "http", "{}", Every(30_000), msgspec.structs.replace(Policy(regions=REGIONS, quorum=quorum), **policy)
        )
        self.monitor = Monitor("u", spec, Origin.SIGNUP, 1, AT - 1, state)
        self.answers = RegionalAnswers()
        self.opened_at = AT - 1
        self.stored = 0

    def hears(self, region: str, status: Status, at: int = AT, attempt: int = 1, **more: object) -> State:
        """The state after a region's result."""
        result = Result(
            "u", "m", at, "http", 1, status, f"{status} there", at + 5, 10.0, attempt, executor=f"e-{region}"
        )
        result = msgspec.structs.replace(result, region=region, **more)
        self._judge(*after_region(self.monitor, result, self.answers, self.opened_at))
        return self.monitor.state

    def waits(self, ms: int = 1_000_000) -> State:
        """The state after a time without results."""
        self._judge(*after_waiting(self.monitor, self.answers, AT + ms))
        return self.monitor.state

    def _judge(self, waiting: Monitor, verdicts: tuple[Result, ...]) -> None:
        for verdict in verdicts:
            waiting = lifecycle.after_result(waiting, verdict, AT)
        self.stored += waiting != self.monitor
        self.monitor = waiting


@pytest.mark.parametrize(
    ("quorum", "failing", "state"),
    [
        (Quorum.ANY, 0, State.UP),
        (Quorum.ANY, 1, State.DOWN),
        (Quorum.MAJORITY, 1, State.UP),
        (Quorum.MAJORITY, 2, State.DOWN),
        (Quorum.ALL, 2, State.UP),
        (Quorum.ALL, 3, State.DOWN),
    ],
)
@pytest.mark.parametrize("order", [REGIONS, REGIONS[::-1]])
def test_a_run_fails_if_the_quorum_of_its_regions_fails(
    quorum: Quorum, failing: int, state: State, order: tuple[str, ...]
) -> None:
    watched = Watched(quorum)
    for region in order:
        found = watched.hears(region, BAD if region in REGIONS[:failing] else OK)
    assert found is state
    assert watched.monitor.agenda.runs_in_regions == ()


def test_a_verdict_is_reached_as_soon_as_silent_regions_cannot_change_it() -> None:
    assert Watched(Quorum.ANY).hears("eu", BAD) is State.DOWN
    majority = Watched(Quorum.MAJORITY, State.NEW)
    assert majority.hears("eu", OK) is State.NEW
    assert majority.hears("us", OK) is State.UP
    assert Watched(Quorum.ALL, State.DOWN).hears("eu", OK) is State.UP


def test_a_region_that_is_gone_neither_fails_nor_saves_a_monitor() -> None:
    watched = Watched(Quorum.ALL)
    watched.hears("eu", BAD)
    assert watched.hears("us", BAD) is State.UP
    assert watched.waits(30_000 + 10_000) is State.UP
    assert watched.waits() is State.DOWN
    assert watched.monitor.reason == "failure there (in eu, us; no answer from ap)"


def test_a_tie_of_the_regions_that_answered_is_no_failure() -> None:
    watched = Watched()
    watched.hears("eu", BAD)
    watched.hears("us", OK)
    assert watched.waits() is State.UP


def test_without_any_answer_nothing_changes() -> None:
    watched = Watched()
    assert watched.waits() is State.UP
    for region in REGIONS:
        watched.hears(region, SKIPPED, skipped_until=AT, skipped_count=1)
    assert watched.monitor.state is State.UP
    assert not watched.stored


def test_what_leaves_a_monitor_as_it_is_is_not_stored() -> None:
    up, down = Watched(Quorum.ANY), Watched(Quorum.ALL, State.DOWN)
    for number in range(3 * MOST_RUNS):
        for region in REGIONS[:2]:
            up.hears(region, OK, AT + number * 30_000)
            down.hears(region, BAD, AT + number * 30_000)
    assert not up.stored
    assert not down.stored
    assert len(up.answers.runs) == len(down.answers.runs) == MOST_RUNS


def test_an_answer_that_comes_after_the_verdict_changes_nothing() -> None:
    watched = Watched(state=State.DOWN)
    watched.hears("eu", BAD)
    watched.hears("us", BAD)
    assert watched.hears("ap", OK) is State.DOWN
    assert watched.waits() is State.DOWN
    assert watched.hears("ap", OK, AT - 30_000) is State.DOWN


def test_a_result_that_comes_twice_counts_once() -> None:
    watched = Watched()
    watched.hears("eu", BAD)
    assert watched.hears("eu", BAD) is State.UP


def test_after_a_move_to_another_worker_a_run_is_judged_only_if_unknown_answers_cannot_matter() -> None:
    watched = Watched()
    watched.opened_at = AT + 10
    watched.hears("eu", BAD)
    assert watched.waits() is State.UP
    assert watched.monitor.agenda.runs_in_regions == ()
    moved = Watched()
    moved.opened_at = AT + 10
    moved.hears("eu", BAD)
    assert moved.hears("us", BAD) is State.DOWN


def test_a_run_that_waits_is_decided_whoever_has_the_partition() -> None:
    watched = Watched(Quorum.ALL)
    watched.hears("eu", BAD)
    watched.answers = RegionalAnswers()
    assert watched.waits() is State.DOWN


def test_a_region_that_is_far_behind_counts_as_silent() -> None:
    watched = Watched(Quorum.ALL)
    for number in range(MOST_RUNS):
        assert watched.hears("eu", BAD, AT + number * 1_000) is State.UP
    assert watched.hears("eu", BAD, AT + MOST_RUNS * 1_000) is State.DOWN


def test_a_retry_is_one_more_run_in_all_regions() -> None:
    watched = Watched(retries=Retries(1))
    watched.hears("eu", BAD)
    watched.hears("us", BAD)
    assert watched.monitor.agenda.retry_attempt == 2
    assert watched.hears("ap", BAD) is State.UP
    watched.hears("eu", BAD, attempt=2)
    assert watched.hears("us", BAD, attempt=2) is State.DOWN


def test_results_of_other_regions_and_of_none_do_not_count() -> None:
    watched = Watched(Quorum.ANY)
    assert watched.hears("mars", BAD) is State.UP
    assert watched.hears("", BAD) is State.UP


@pytest.mark.parametrize(("us", "witness"), [(BAD, "us"), (OK, "ap")])
def test_a_region_that_is_cut_off_makes_a_verdict_doubtful_only_if_it_is_needed(us: Status, witness: str) -> None:
    watched, verdicts = Watched(failures_to_down=1), ()
    for region, status, unreached in (("us", us, 0), ("eu", BAD, 7), ("ap", BAD, 100)):
        result = Result("u", "m", AT, "http", 1, status, "x", AT, 1.0, executor=f"e-{region}", region=region)
        result = msgspec.structs.replace(result, unreached=unreached)
        watched.monitor, more = after_region(watched.monitor, result, watched.answers, AT - 1)
        verdicts += more
    [verdict] = verdicts
    assert (verdict.status, verdict.region, verdict.executor) == (BAD, witness, f"e-{witness}")
