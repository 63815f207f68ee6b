"""Tests of what share of its targets an executor does not reach."""

import pytest

from everwatch.executor.reachability import FEWEST_TARGETS, Reachability, reaches
from everwatch.model import Outcome, Status

HOSTS = [f"host-{n}.example" for n in range(100)]


def failed(reason: str) -> Outcome:
    return Outcome(Status.FAILURE, reason)


@pytest.mark.parametrize(
    ("outcome", "reached"),
    [
        (Outcome(Status.SUCCESS), True),
        (Outcome(Status.SKIPPED, "late"), None),
        (failed("status 503"), True),
        (failed("the body does not contain 'ok'"), True),
        (failed("no answer within 10 s"), False),
        (failed("name shop.example does not resolve"), False),
        (failed("no route to shop.example:443"), False),
        (failed("connection refused by shop.example:443"), False),
        (failed("target 10.0.0.1 is in 10.0.0.0/8, which checks may not reach"), None),
    ],
)
def test_only_what_the_network_does_says_whether_a_target_was_reached(outcome: Outcome, reached: bool | None) -> None:
    assert reaches(outcome) is reached


def test_the_share_grows_with_each_target_that_is_out_of_reach_and_is_gone_with_what_is_reached() -> None:
    seen = Reachability()
    assert {seen.note(host, True, 0.0) for host in HOSTS} == {0}
    shares = [seen.note(host, False, 1.0) for host in HOSTS]
    assert shares == list(range(1, 101))
    assert seen.note(HOSTS[0], True, 2.0) == 0
    assert seen.note(HOSTS[1], False, 2.0) == 99


def test_of_few_targets_nothing_is_said() -> None:
    seen = Reachability()
    few = HOSTS[: FEWEST_TARGETS - 1]
    assert {seen.note(host, False, 0.0) for host in few} == {0}
    assert seen.note("one-more.example", False, 0.0) == 100


def test_targets_that_were_tried_longer_ago_do_not_count() -> None:
    seen = Reachability()
    for host in HOSTS:
        seen.note(host, True, 0.0)
    assert seen.note(HOSTS[0], False, 61.0) == 0


def test_targets_that_are_down_for_good_do_not_count_and_a_long_outage_does() -> None:
    seen = Reachability()
    dead = HOSTS[:40]
    for minute in range(15):
        for host in HOSTS:
            share = seen.note(host, host not in dead, minute * 30.0 * 2)
    # the last forty say nothing any more
    assert share == 0
    assert seen.note(dead[0], False, 15 * 60.0) == 0
    for minute in range(15, 40):
        shares = [seen.note(host, False, minute * 60.0 + 1) for host in HOSTS]
    assert shares[-1] == 100


def test_kinds_that_go_to_no_host_do_not_count() -> None:
    seen = Reachability()
    assert {seen.note("", False, 0.0) for _ in range(100)} == {0}
