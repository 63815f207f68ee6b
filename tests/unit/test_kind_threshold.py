"""The kind threshold, as its user sees it: values come in, looks judge. Instants are seconds after noon."""

import itertools
from typing import Any

import msgspec
import pytest

from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.protocol import InlineView
from everwatch.kinds.threshold import ThresholdConfig, ThresholdKind
from everwatch.model import NO_SIGNALS, Outcome, Signal, SignalType, Status

NOON_S = 1_800_000_000
KIND = ThresholdKind()
S, F, N = Status.SUCCESS, Status.FAILURE, Status.SKIPPED


def ms(after_noon_s: float) -> int:
    return round((NOON_S + after_noon_s) * 1000)


class Metric:
    """A monitor put at noon; its worker has watched it for long."""

    def __init__(self, *, began_s: float = 0, watching_s: float = -7_200, **config: object) -> None:
        parsed = registry.parse_config(KIND, {"above": 100} | config)
        assert isinstance(parsed, ThresholdConfig)
        self.config = parsed
        self.began_s, self.watching_s = began_s, watching_s
        self.last_signal, self.known = 0, NO_SIGNALS

    def take(self, *values: tuple[float, float]) -> "Metric":
        """Values, each with its instant."""
        for at_s, value in values:
            signal = Signal("u", "m", ms(at_s), value=value)
            self.last_signal, self.known = KIND.take(self.config, self.last_signal, self.known, signal)
        return self

    def look(self, at_s: float) -> Outcome:
        view = InlineView(ms(self.began_s), ms(self.watching_s), self.last_signal, self.known)
        return KIND.judge(self.config, view, ms(at_s))


def test_a_value_beyond_the_limit_is_a_failure_at_once_and_one_at_the_limit_is_well() -> None:
    metric = Metric().take((1, 100))
    assert metric.look(2) == Outcome(S, "the value is 100")
    assert metric.take((3, 100.5)).look(4) == Outcome(F, "100.5 is above 100 since 2027-01-15 08:00:03Z")
    assert metric.take((5, 100)).look(6).status is S


def test_below_is_the_other_way_round() -> None:
    metric = Metric(above=None, below=5, clear=7).take((1, 5))
    assert metric.look(2).status is S
    assert metric.take((3, 4.5)).look(4).reason == "4.5 is below 5 since 2027-01-15 08:00:03Z"
    assert metric.take((5, 6)).look(6).reason == "6 is not back at 7 yet, below 5 was it since 2027-01-15 08:00:03Z"
    assert metric.take((7, 7)).look(8).status is S


def test_a_failure_lasts_until_the_value_is_back_at_clear() -> None:
    metric = Metric(clear=90).take((1, 120), (2, 95))
    assert metric.look(3) == Outcome(F, "95 is not back at 90 yet, above 100 was it since 2027-01-15 08:00:01Z")
    assert metric.take((4, 90)).look(5).status is S
    # once well, what lies between is well
    assert metric.take((6, 95)).look(7).status is S


def test_it_is_a_failure_only_once_it_has_lasted() -> None:
    metric = Metric(**{"for": "5m"}).take((0, 120), (60, 130))
    early = metric.look(299.9)
    assert early.status is S
    assert early.reason == "130 is above 100 since 2027-01-15 08:00:00Z, a failure when it has lasted for 5 min"
    assert metric.look(300).status is F


def test_a_peak_between_two_looks_that_was_too_short_is_no_failure() -> None:
    metric = Metric(**{"for": "5m"}).take((0, 120), (120, 80), (240, 120))
    assert metric.look(400).status is S  # 160 s so far, not 400
    assert metric.look(540).status is F


def test_with_no_time_to_last_a_look_judges_the_newest_value_only() -> None:
    assert Metric().take((1, 120), (2, 80)).look(3).status is S


def test_a_breach_that_no_look_saw_begins_the_wait_for_clear_all_the_same() -> None:
    """Tell whether a look falls between two values must not decide what the next one says."""
    for looks in ([], [310]):
        metric = Metric(clear=90, **{"for": "5m"}).take((0, 120))
        assert [metric.look(at).status for at in looks] == [F] * len(looks)
        assert metric.take((320, 95)).look(321).status is F


def test_a_value_between_clear_and_limit_ends_a_wait_that_was_too_short() -> None:
    metric = Metric(clear=90, **{"for": "5m"}).take((0, 120), (200, 95))
    assert metric.look(310).status is S


def test_a_value_that_comes_as_the_wait_is_over_ends_it() -> None:
    """Nobody could have looked before it came and seen that the limit was passed for long enough."""
    metric = Metric(clear=90, **{"for": "5m"}).take((0, 120), (300, 95))
    assert metric.look(301).status is S
    assert Metric(clear=90, **{"for": "5m"}).take((0, 120), (301, 95)).look(302).status is F


def test_values_may_come_out_of_order_and_an_older_one_changes_nothing() -> None:
    for late in (80.0, 500.0):
        metric = Metric().take((10, 120), (5, late))
        assert metric.look(11) == Metric().take((10, 120)).look(11)


def test_a_value_from_a_clock_that_is_ahead_of_ours_counts_at_once() -> None:
    assert Metric().take((30, 120)).look(1).status is F


@pytest.mark.parametrize(("missing", "status"), [("skip", N), ("ok", S), ("failure", F)])
def test_what_a_look_says_when_no_value_comes_any_more_is_the_owners_choice(missing: str, status: Status) -> None:
    metric = Metric(missing=missing).take((1, 120))
    assert metric.look(601).status is F
    outcome = metric.look(721.5)
    assert outcome.status is status
    assert outcome.reason.removeprefix("not judged: ") == "no value for 12 min (one counts for 10 min)"


@pytest.mark.parametrize(("missing", "status"), [("skip", N), ("ok", S), ("failure", F)])
def test_a_monitor_that_never_got_a_value_waits_for_one_as_long_as_one_counts(missing: str, status: Status) -> None:
    metric = Metric(missing=missing, missing_after="1m")
    assert metric.look(60) == Outcome(N, "not judged: no value has come yet")
    outcome = metric.look(61)
    assert outcome.status is status
    assert "no value since watching began 61 s ago (one counts for 60 s)" in outcome.reason


def test_a_monitor_resumed_after_a_long_pause_does_not_judge_the_value_from_before() -> None:
    metric = Metric(began_s=5_000, missing="failure").take((1, 120))
    metric.known = msgspec.structs.replace(metric.known, counted_from=ms(5_000))
    assert metric.look(5_010).status is N
    assert metric.look(5_601).status is F


def test_just_after_a_takeover_nobody_says_that_values_are_missing() -> None:
    metric = Metric(missing="failure", watching_s=1_000).take((1, 80))
    assert metric.look(1_060).status is N
    assert metric.look(1_060.001).status is F
    quick = Metric(missing="failure", missing_after="5s", watching_s=1_000).take((1, 80))
    assert (quick.look(1_005).status, quick.look(1_006).status) == (N, F)


def test_a_gap_longer_than_a_value_counts_is_no_time_that_it_lasted() -> None:
    metric = Metric(missing_after="1m", **{"for": "5m"}).take((0, 120), (600, 120))
    assert metric.look(650).status is S
    # but a failure that had lasted is over only when the value is back
    lasting = [(float(at), 120.0) for at in range(0, 301, 30)]
    assert Metric(clear=90, missing_after="1m", **{"for": "5m"}).take(*lasting, (600, 95)).look(601).status is F


def test_a_gap_does_not_make_a_look_before_it_say_something_else_afterwards() -> None:
    """A value that nobody followed up counts for missing_after: as long as that, looks saw a failure."""
    config: dict[str, Any] = {"clear": 90, "for": "50s", "missing_after": "1m"}
    assert Metric(**config).take((0, 120)).look(55).status is F
    assert Metric(**config).take((0, 120), (600, 95)).look(601).status is F


def test_a_signal_without_a_value_is_not_for_a_threshold() -> None:
    for signal in (Signal("u", "m", ms(1)), Signal("u", "m", ms(1), SignalType.FAIL, 3)):
        with pytest.raises(InvalidInput) as caught:
            KIND.take(Metric().config, 0, NO_SIGNALS, signal)
        assert caught.value.path == "$.value"


@pytest.mark.parametrize(
    ("config", "path", "reason"),
    [
        ({}, "$.config.above", "a threshold needs exactly one of above and below"),
        ({"above": 1, "below": 0}, "$.config.above", "a threshold needs exactly one of above and below"),
        ({"above": 100, "clear": 101}, "$.config.clear", "101 lies above the limit 100, where nothing is right again"),
        ({"below": 5, "clear": 4.5}, "$.config.clear", "4.5 lies below the limit 5, where nothing is right again"),
        ({"above": float("nan")}, "$.config.above", "not a finite number"),
        ({"above": 1, "clear": float("-inf")}, "$.config.clear", "not a finite number"),
        ({"above": "much"}, "$.config.above", "expected float | null, got str"),
        ({"above": True}, "$.config.above", "expected float | null, got bool"),
        ({"above": 1, "missing": "late"}, "$.config.missing", "'late' is not one of skip, ok, failure"),
        ({"above": 1, "for": -1}, "$.config.for", "-1 is negative, and no duration is"),
        ({"above": 1, "missing_after": "0s"}, "$.config.missing_after", "'0s' is not between 1 s and 400 d"),
        ({"above": 1, "until": 3}, "$.config.until",
         "the kind 'threshold' has no field 'until'; known fields: above, below, clear, for, missing, missing_after"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(config: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(KIND, config)
    assert (caught.value.path, caught.value.reason) == (path, reason)


def test_a_config_is_kept_in_its_shortest_form_which_means_the_same() -> None:
    given = {"above": 100, "clear": 90.5, "for": 300, "missing": "skip", "missing_after": "PT10M"}
    parsed = registry.parse_config(KIND, given)
    text = registry.canonical_config(KIND, parsed)
    assert text == '{"above":100.0,"clear":90.5,"for":"5m"}'
    assert registry.parse_config(KIND, text) == parsed


@pytest.mark.parametrize(("above", "clear"), itertools.product([-1.5, 0.0, 7.0], [None, 0.0]))
def test_the_limit_itself_is_well_whatever_its_sign(above: float, clear: float | None) -> None:
    if clear is not None and clear > above:
        return
    assert Metric(above=above, clear=clear).take((1, above)).look(2).status is S
