"""From alerts that wait to one message."""

from support.notifying import MINUTE, SECOND, START, transition

from everwatch.model import Transition
from everwatch.notifier import target_incidents
from everwatch.notifier.alerts import Alert, AlertKind
from everwatch.notifier.grouping import MOST_LISTED, Collapse, message_of
from everwatch.notifier.incidents import Incident, after_transition
from everwatch.notifier.target_incidents import TargetIncident
from everwatch.notifier.timing import Timing, flush_at
from everwatch.notifier.wording import lines_of, subject_of

PLAIN = Timing()
DOWN, UP = transition("up", "down"), transition("down", "up", 240)


def alerts_of(*transitions: Transition) -> list[Alert]:
    incidents: dict[str, Incident | None] = {}
    alerts: list[Alert] = []
    for each in transitions:
        step = after_transition(incidents.get(each.monitor_id), each)
        incidents[each.monitor_id] = step.incident
        alerts += step.alerts
    return alerts


def collapse(
    alerts: list[Alert], timing: Timing = PLAIN, now: int = START + MINUTE, keeps: bool = False, known: int = 0
) -> tuple[list[Alert], list[Alert], int]:
    folded = Collapse(timing, now, keeps_incidents=keeps)
    for number, alert in enumerate(alerts):
        folded.add(alert, str(number), may_be_known=number < known)
    return folded.result()


def test_a_down_and_its_up_in_one_message_are_one_line() -> None:
    told, _, _ = collapse(alerts_of(DOWN, UP))
    message = message_of("mail", "u-1", "g", told, ["1", "2"], START)
    assert subject_of(message) == "Recovered: shop (after 4 min)"
    assert len(lines_of(message, with_user=False)) == 1


def test_a_receiver_that_keeps_incidents_is_not_told_of_one_that_is_over_unless_it_may_know_it() -> None:
    assert collapse(alerts_of(DOWN, UP), keeps=True)[0] == []
    assert [a.kind.value for a in collapse(alerts_of(DOWN, UP), keeps=True, known=1)[0]] == ["closed"]


def test_what_its_owner_ended_is_told_only_to_receivers_that_keep_incidents() -> None:
    ended = alerts_of(DOWN, transition("down", "paused", 60, alert=False))[1:]
    assert collapse(ended)[0] == []
    assert [a.kind.value for a in collapse(ended, keeps=True)[0]] == ["ended"]


def test_what_was_down_for_less_than_min_down_is_not_told() -> None:
    timing = Timing(min_down_ms=5 * MINUTE)
    assert collapse(alerts_of(DOWN, UP), timing, now=UP.at) == ([], [], 0)
    told, held, until = collapse(alerts_of(DOWN), timing, now=UP.at)
    assert (told, [a.kind.value for a in held], until) == ([], ["opened"], START + 5 * MINUTE)
    assert [a.kind.value for a in collapse(alerts_of(DOWN), timing, now=until)[0]] == ["opened"]


def test_several_alerts_are_one_message_with_the_most_urgent_first() -> None:
    alerts = alerts_of(
        transition("up", "down", monitor_id="a"),
        transition("down", "up", 9, monitor_id="a"),
        transition("up", "late", 10, monitor_id="b"),
        transition("up", "down", 11, monitor_id="c"),
    )
    told, _, _ = collapse(alerts)
    message = message_of("mail", "u-1", "g", told, ["1"], START)
    assert [alert.monitor_id for alert in message.alerts] == ["c", "b", "a"]
    assert subject_of(message) == "2 down, 1 recovered"


def test_an_incident_of_many_monitors_leads_its_message_and_is_not_one_among_others() -> None:
    alerts = alerts_of(*(transition("up", "down", monitor_id=f"m-{n}") for n in range(MOST_LISTED)))
    shared = TargetIncident("shop.example", failing=39, incident_id="i", opened_at=START + MINUTE)
    alerts.append(target_incidents.alert_of(shared, AlertKind.OPENED, START + MINUTE))
    message = message_of("ops", "", "g", collapse(alerts)[0], ["1"], START)
    assert message.alerts[0].subject == "target shop.example"
    assert subject_of(message) == f"DOWN: target shop.example, 39 monitors; also {MOST_LISTED} down"


def test_a_long_message_lists_some_and_counts_the_rest() -> None:
    alerts = alerts_of(*(transition("up", "down", monitor_id=f"m-{n}") for n in range(1_000)))
    message = message_of("ops", "", "g", collapse(alerts)[0], ["1"], START)
    assert len(message.alerts) == MOST_LISTED
    assert subject_of(message) == "1000 down"
    assert lines_of(message, with_user=True)[-1] == f"… and {1_000 - MOST_LISTED} more"


def test_the_same_alerts_make_the_same_message() -> None:
    told, _, _ = collapse(alerts_of(DOWN))
    first = message_of("mail", "u-1", "g", told, ["2", "1"], START)
    again = message_of("mail", "u-1", "g", told, ["1", "2"], START + 99)
    assert first.message_id == again.message_id
    assert message_of("hook", "", "h", told, ["1", "2"], START).message_id != first.message_id


def test_a_group_waits_for_others_and_then_for_its_interval() -> None:
    timing = Timing(30 * SECOND, 5 * MINUTE)
    assert flush_at(timing, START, 0) == START + 30 * SECOND
    assert flush_at(timing, START, START - MINUTE) == START + 4 * MINUTE
    assert flush_at(timing, START, START - 10 * MINUTE) == START + 30 * SECOND


def test_a_reason_makes_no_second_line() -> None:
    told, _, _ = collapse(alerts_of(transition("up", "down", reason="status 500\nBcc: eve@example.com")))
    [line] = lines_of(message_of("mail", "u-1", "g", told, ["1"], START), with_user=True)
    assert "\n" not in line
