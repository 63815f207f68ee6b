"""Notification policy: the effect of a transition on the incident of its monitor. Pure."""

from collections.abc import Mapping
from enum import StrEnum

from everwatch.encoding.input_models import SEVERITY_LABEL
from everwatch.model import State, Status, Transition
from everwatch.notifier.alerts import Severity
from everwatch.rules import lifecycle
from everwatch.rules.lifecycle import ALARMING

_SEVERITIES = {each.value: each for each in Severity}
_FAILED = frozenset({Status.FAILURE, Status.LATE})


class Meaning(StrEnum):
    """Effect of a transition on the incident of its monitor.

    ``opens``: down or late now. ``reminds``: still so. ``closes``: recovered. ``ends``: over without a recovery that
    people are told of. ``fails``: a task or last run failed. ``nothing``: no alert, and no incident is concerned.
    """

    OPENS = "opens"
    REMINDS = "reminds"
    CLOSES = "closes"
    ENDS = "ends"
    FAILS = "fails"
    NOTHING = "nothing"


def meaning_of(transition: Transition) -> Meaning:
    """Return what a transition means; whether an alert is sent says its ``alert``.

    A first success (``new`` to ``up``), ``paused`` and ``resumed`` are no alerts. A pause or change of a monitor
    that is down ends its incident.
    """
    if transition.reminder:
        return Meaning.REMINDS
    was_alarming, to_state = transition.from_state in ALARMING, transition.to_state
    if to_state in ALARMING:
        return Meaning.OPENS
    if to_state is State.DONE and transition.outcome in _FAILED:
        return Meaning.FAILS
    if was_alarming and to_state in (State.UP, State.DONE) and transition.alert:
        return Meaning.CLOSES
    if was_alarming:
        return Meaning.ENDS
    if transition.alert and lifecycle.is_alarm(transition.from_state, to_state, transition.outcome):
        return Meaning.FAILS
    return Meaning.NOTHING


def concerns_people(transition: Transition) -> bool:
    """Tell whether the notifier keeps a transition; the others (most of them first successes) it passes over."""
    return meaning_of(transition) is not Meaning.NOTHING


def severity_of(transition: Transition) -> Severity:
    """Return how urgent a failure is: what the monitor's label says, else by its state."""
    return severity_in(transition.labels, transition.to_state)


def severity_in(labels: Mapping[str, str], state: State) -> Severity:
    """Return how urgent a failure of a monitor with these labels is, in this state."""
    known = _SEVERITIES.get(labels.get(SEVERITY_LABEL, ""))
    if known is not None:
        return known
    return Severity.CRITICAL if state is State.DOWN else Severity.WARNING
