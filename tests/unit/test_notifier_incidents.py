"""Messages by transition; a transition that comes twice leads to one message."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.notifying import MINUTE, START, transition

from everwatch.model import Status, Transition
from everwatch.notifier.alerts import Severity
from everwatch.notifier.incidents import LEGAL, Incident, Phase, after_silence, after_transition
from everwatch.notifier.meaning import severity_of


def told(transitions: Iterable[Transition]) -> tuple[Incident | None, list[str]]:
    """The incident after these transitions, and the kinds of alerts that they gave."""
    incident: Incident | None = None
    kinds: list[str] = []
    for each in transitions:
        step = after_transition(incident, each)
        if incident is not None and step.incident is not None and step.incident.phase is not incident.phase:
            assert step.incident.phase in LEGAL[incident.phase]
        incident = step.incident
        kinds += [alert.kind.value for alert in step.alerts]
    return incident, kinds


@pytest.mark.parametrize(
    ("transitions", "kinds"),
    [
        ([transition("new", "up", alert=False)], []),
        ([transition("up", "paused", alert=False), transition("paused", "new", 1, alert=False)], []),
        ([transition("new", "down")], ["opened"]),
        ([transition("up", "late"), transition("late", "up", 60)], ["opened", "closed"]),
        ([transition("up", "late"), transition("late", "down", 60)], ["opened", "changed"]),
        ([transition("up", "down"), transition("down", "down", 60, reminder=True)], ["opened", "reminder"]),
        ([transition("up", "down"), transition("down", "paused", 60, alert=False)], ["opened", "ended"]),
        # its owner changed it while it was down: the first success after that is no recovery
        (
            [
                transition("up", "down"),
                transition("down", "new", 60, alert=False),
                transition("new", "up", 90, alert=False),
            ],
            ["opened", "ended"],
        ),
        ([transition("new", "done", reason="exit status 1", outcome=Status.FAILURE)], ["failed"]),
        ([transition("new", "done", reason="", alert=False)], []),
        ([transition("up", "down"), transition("down", "done", 9, reason="status 500", outcome=Status.FAILURE)], [
            "opened", "ended", "failed",
        ]),
        # maintenance: nobody is told, until a reminder at its end says that it is still down
        ([transition("up", "down", alert=False), transition("down", "up", 60, alert=False)], []),
        ([transition("up", "down", alert=False), transition("down", "up", 60)], []),
        (
            [
                transition("up", "down", alert=False),
                transition("down", "down", 60, reminder=True),
                transition("down", "up", 90),
            ],
            ["opened", "closed"],
        ),
        # recovered within maintenance: only receivers that keep incidents are told
        ([transition("up", "down"), transition("down", "up", 60, alert=False)], ["opened", "ended"]),
        ([transition("down", "down", 60, reminder=True)], ["opened"]),
        ([transition("down", "up")], []),
    ],
)  # fmt: skip
def test_what_is_told_of_which_transition(transitions: list[Transition], kinds: list[str]) -> None:
    assert told(transitions)[1] == kinds


def test_a_recovery_belongs_to_the_incident_that_it_ends() -> None:
    down = after_transition(None, transition("up", "down"))
    up = after_transition(down.incident, transition("down", "up", 240))
    assert up.alerts[0].incident_id == down.alerts[0].incident_id
    assert up.alerts[0].duration_ms == 4 * MINUTE
    assert up.incident is not None
    assert up.incident.phase is Phase.CLOSED


def test_the_severity_of_an_incident_never_falls_so_that_who_is_told_its_beginning_is_told_its_end() -> None:
    down = after_transition(None, transition("up", "down"))
    late = after_transition(down.incident, transition("down", "late", 60))
    up = after_transition(late.incident, transition("late", "up", 120))
    assert [step.alerts[0].severity for step in (down, late, up)] == [Severity.CRITICAL] * 3


def flaps(count: int, every_s: int = 60) -> list[Transition]:
    """So many changes, beginning with down."""
    states = [("up", "down"), ("down", "up")]
    return [transition(*states[i % 2], i * every_s) for i in range(count)]


def test_more_than_five_changes_in_ten_minutes_are_one_alert_and_then_silence() -> None:
    incident, kinds = told(flaps(9))
    assert kinds == ["opened", "closed"] * 2 + ["opened", "flapping"]
    assert incident is not None
    assert incident.phase is Phase.FLAPPING


def test_what_has_flapped_and_kept_its_state_for_ten_minutes_is_told_as_it_is() -> None:
    last_s = 8 * 60
    down, _ = told(flaps(9))
    up, _ = told(flaps(10))
    assert down is not None
    assert up is not None
    quiet = START + last_s * 1_000 + 10 * MINUTE
    assert after_silence(down, quiet - 1).alerts == ()
    still_down, is_up = after_silence(down, quiet), after_silence(up, quiet + MINUTE)
    assert [a.kind.value for a in still_down.alerts + is_up.alerts] == ["changed", "settled"]
    assert still_down.incident is not None
    assert is_up.incident is not None
    assert (still_down.incident.phase, is_up.incident.phase) == (Phase.OPEN, Phase.CLOSED)
    # and a recovery ends the incident as any other
    assert [a.kind.value for a in after_transition(still_down.incident, transition("down", "up", 9_000)).alerts] == [
        "closed"
    ]


def test_slow_changes_do_not_flap() -> None:
    assert told(flaps(20, every_s=130))[1] == ["opened", "closed"] * 10


@given(st.lists(st.integers(0, 11), max_size=30), st.data())
def test_transitions_that_come_again_change_nothing(numbers: list[int], data: st.DataObject) -> None:
    once = flaps(12, every_s=70)
    again: list[Transition] = []
    for number, each in enumerate(once):
        again.append(each)
        # any that came before may come again, at any time
        again += [once[n] for n in numbers if n <= number and data.draw(st.booleans())]
    assert told(again) == told(once)


def test_severity_is_what_the_monitors_label_says_else_by_its_state() -> None:
    assert severity_of(transition("up", "down")) is Severity.CRITICAL
    assert severity_of(transition("up", "late")) is Severity.WARNING
    assert severity_of(transition("up", "down", labels={"severity": "info"})) is Severity.INFO
    assert severity_of(transition("up", "down", labels={"severity": "very"})) is Severity.CRITICAL


def test_what_happened_before_the_notifier_began_is_not_told_and_neither_is_its_end() -> None:
    down = after_transition(None, transition("up", "down"), silent=True)
    assert down.alerts == ()
    assert after_transition(down.incident, transition("down", "up", 60)).alerts == ()
    still = after_transition(down.incident, transition("down", "down", 60, reminder=True))
    assert [alert.kind.value for alert in still.alerts] == ["opened"]
