"""Figures, medians, paces and plots of the bench."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.errors import Unmeasured
from bench.pace import Pace
from bench.plot import WIDTH, Axis, Line, line_plot, nice_ticks, short
from bench.plots import draw
from bench.recovery import back_after
from bench.report import Figure, Outcome, Peer, medians, percentile


def test_percentile_is_the_least_value_that_covers_the_share() -> None:
    counts = {1: 98, 7: 1, 100: 1}
    assert [percentile(counts, share) for share in (0.5, 0.98, 0.99, 1.0)] == [1, 1, 7, 100]
    assert percentile({}, 0.99) == 0


@pytest.mark.parametrize(("target", "met"), [("<= 5", True), ("<= 4.9", False), (">= 5", True), (">= 6", False)])
def test_target_is_judged(target: str, met: bool) -> None:
    assert Figure("x", 5, "ms", target).met is met
    assert Figure("x", 5, "ms").met is None


def test_medians_keep_least_and_greatest() -> None:
    runs = [
        Outcome([Figure("late", value, "ms", "<= 5")], [Peer("other", [Figure("cost", value * 2, "s")])])
        for value in (9, 1, 4)
    ]
    whole = medians(runs)
    assert whole.figures == [Figure("late", 4, "ms", "<= 5", (1, 9))]
    assert whole.peers[0].figures == [Figure("cost", 8, "s", "", (2, 18))]
    assert whole.as_json("ticks")["figures"] == [
        {"name": "late", "value": 4, "unit": "ms", "target": "<= 5", "met": True, "min": 1, "max": 9}
    ]


def test_report_says_why_a_peer_is_missing() -> None:
    outcome = Outcome([Figure("x", 1, "s")], [Peer("Faust", problem="Faust was not measured: no.")])
    assert outcome.problem == "Faust was not measured: no."
    assert any("no." in line for line in outcome.as_lines())


def test_report_keeps_the_figures_beside_a_part_that_was_not_measured() -> None:
    outcome = medians([Outcome([Figure("x", 1, "s")], unmeasured=["Tabs: timed out."]), Outcome([Figure("x", 3, "s")])])
    assert (outcome.problem, outcome.figures[0].value) == ("Tabs: timed out.", 2)
    assert outcome.as_json("console")["unmeasured"] == ["Tabs: timed out."]


def test_pace_runs_from_the_last_look_at_nothing_to_the_last_change() -> None:
    pace = Pace()
    for at_s, count in ((0.0, 5), (1.0, 5), (2.0, 9), (3.0, 15), (4.0, 15)):
        pace.note(at_s, count)
    assert pace.seconds == 2.0
    # 10 came in 2 s, but after the first 4 had shown, 6 in 1 s: the lower rate counts
    assert pace.rate(10) == 5.0
    bulky = Pace()
    for at_s, count in ((0.0, 0), (0.1, 50), (1.1, 100)):
        bulky.note(at_s, count)
    assert bulky.rate(100) == pytest.approx(50.0)
    silent = Pace()
    silent.note(0.0, 5)
    with pytest.raises(Unmeasured, match="Nothing came"):
        _ = silent.seconds


def test_recovery_is_over_at_the_last_late_look() -> None:
    assert back_after([(900, 5_000), (1_100, 3_000), (1_900, 1_500), (2_000, 20)], 1_000) == 900
    assert back_after([(900, 5_000), (1_200, 20)], 1_000) == 200
    with pytest.raises(Unmeasured, match="silent"):
        back_after([(900, 0)], 1_000)


def test_axis_ticks_are_round_and_enclose_the_values() -> None:
    assert nice_ticks(0, 9) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0, 0) == [0, 0.2]
    assert [short(value) for value in (0.05, 250, 1_500, 2_500_000)] == ["0.05", "250", "1.5k", "2.5M"]


def test_plot_is_well_formed_and_names_its_lines() -> None:
    svg = line_plot("a < b", Axis("x", log=True), Axis("y"), [Line("one & two", [(10, 0), (1_000, 5)])])
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"a < b", "one & two", "x", "y", "10", "1k"} <= set(texts)
    with pytest.raises(ValueError, match="nothing"):
        line_plot("", Axis("x"), Axis("y"), [])
    with pytest.raises(ValueError, match="positive"):
        line_plot("", Axis("x", log=True), Axis("y"), [Line("z", [(0, 1)])])


def test_each_line_of_a_plot_is_drawn_and_named_within_its_width() -> None:
    names = [f"PostgreSQL, results of sort {number}" for number in range(6)]
    root = ElementTree.fromstring(line_plot("", Axis("x"), Axis("y"), [Line(name, [(0, 1), (1, 2)]) for name in names]))
    legend = [each for each in root.iter() if each.text in names and each.tag.endswith("text")]
    assert [each.text for each in legend] == names
    assert all(float(each.attrib["x"]) + 6 * len(str(each.text)) < WIDTH for each in legend)
    assert len({(each.attrib["x"], each.attrib["y"]) for each in legend}) == 6
    lines = [each.attrib["stroke"] for each in root.iter() if each.tag.endswith("polyline")]
    assert len(set(lines)) == 6
    with pytest.raises(ValueError, match="at most"):
        line_plot("", Axis("x"), Axis("y"), [Line(str(number), [(0, 1)]) for number in range(7)])


def test_curves_are_drawn_from_saved_reports(tmp_path: Path) -> None:
    figures = [Figure("CPU at 100,000/s", 0.1, "s"), Figure("CPU at 1,000,000/s", 0.05, "s")]
    report = Outcome(figures, [Peer("Kafka Streams", [Figure("CPU at 100,000/s", 3.7, "s")])]).as_json("capacity")
    (path,) = draw([report], tmp_path / "plots")
    assert path.name == "cost-by-rate.svg"
    assert "Kafka Streams" in path.read_text()
