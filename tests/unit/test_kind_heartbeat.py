"""The inline kinds: heartbeat and noop. Instants in these tests are seconds, made ms where they are judged."""

import pytest

from everwatch.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.protocol import InlineView
from everwatch.model import Outcome, Status

NOON_S = 1_800_000_000


def judge(
    at_s: float, *, signal_s: float = 0, began_s: float = NOON_S, watching_s: float = NOON_S, **config: object
) -> Outcome:
    """The outcome of a heartbeat of a minute with 10 s grace, at ``at_s`` seconds after noon."""
    kind = registry.kind_named("heartbeat")
    assert kind.inline
    parsed = registry.parse_config(kind, {"period": "60s", "grace": "10s"} | config)
    view = InlineView(round(began_s * 1000), round(watching_s * 1000), round(signal_s * 1000))
    return kind.judge(parsed, view, round((NOON_S + at_s) * 1000))


@pytest.mark.parametrize(("at_s", "status"), [(0, Status.SUCCESS), (70, Status.SUCCESS), (70.001, Status.LATE)])
def test_a_job_that_never_reported_has_a_period_and_the_grace(at_s: float, status: Status) -> None:
    assert judge(at_s).status is status


@pytest.mark.parametrize(("at_s", "status"), [(100, Status.SUCCESS), (100.001, Status.LATE)])
def test_a_job_that_reported_has_a_period_and_the_grace_from_then(at_s: float, status: Status) -> None:
    assert judge(at_s, signal_s=NOON_S + 30).status is status


def test_after_a_takeover_a_job_that_looks_late_is_not_judged_for_the_length_of_the_grace() -> None:
    hours_ago = NOON_S - 7200
    for signal_s in (hours_ago, 0):
        assert judge(10, signal_s=signal_s, began_s=hours_ago - 60).status is Status.SKIPPED
        assert judge(10.001, signal_s=signal_s, began_s=hours_ago - 60).status is Status.LATE


def test_a_takeover_delays_the_verdict_by_a_minute_at_the_most() -> None:
    hours_ago = NOON_S - 7200
    assert judge(60, signal_s=hours_ago, began_s=hours_ago, grace="1h").status is Status.SKIPPED
    assert judge(60.001, signal_s=hours_ago, began_s=hours_ago, grace="1h").status is Status.LATE


def test_after_a_takeover_a_young_signal_keeps_its_own_deadline() -> None:
    assert judge(50, signal_s=NOON_S - 20, began_s=NOON_S - 100).status is Status.SUCCESS
    assert judge(50.001, signal_s=NOON_S - 20, began_s=NOON_S - 100).status is Status.LATE


def test_a_resumed_monitor_has_a_period_and_the_grace_anew() -> None:
    assert judge(70, signal_s=NOON_S - 7200, watching_s=NOON_S - 7200).status is Status.SUCCESS
    assert judge(70.001, signal_s=NOON_S - 7200, watching_s=NOON_S - 7200).status is Status.LATE


def test_the_reason_says_for_how_long_and_what_was_expected() -> None:
    assert judge(75, signal_s=NOON_S).reason == "no heartbeat for 75 s (expected every 60 s, grace 10 s)"
    assert judge(75).reason == "no heartbeat since watching began 75 s ago (expected every 60 s, grace 10 s)"
    assert judge(75, signal_s=NOON_S + 60).reason == ""


def test_a_noop_is_always_well() -> None:
    kind = registry.kind_named("noop")
    assert kind.inline
    assert kind.judge(registry.parse_config(kind, {}), InlineView(0, 0, 0), 5) == Outcome(Status.SUCCESS)


@pytest.mark.parametrize(
    ("kind", "config", "path"),
    [
        ("heartbeat", {}, "$.config"), ("heartbeat", {"period": "soon"}, "$.config.period"),
        ("heartbeat", {"period": "0s"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "grace": -1}, "$.config.grace"),
        ("heartbeat", {"period": "P1M"}, "$.config.period"), ("heartbeat", {"period": "9000d"}, "$.config.period"),
        ("heartbeat", {"period": "1m", "grace": None}, "$.config.grace"), ("noop", {"a": 1}, "$.config.a"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(kind: str, config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named(kind), config)
    assert caught.value.path == path
