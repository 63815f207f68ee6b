"""How checks are run: each fault is a line with a remedy, and one check's trouble is not the others'."""

from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException

from everwatch.clock import SettableClock
from everwatch.config import Settings
from everwatch.diagnosis import CHECKS, System, diagnose
from everwatch.diagnosis.checks import Check
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.errors import StoreError

SYSTEM = System(Settings(), "127.0.0.1:1", SettableClock())


def gives(*findings: Finding) -> Check:
    return Check(findings[0].name, lambda _: iter(findings))


def raises(name: str, error: Exception) -> Check:
    def look(_: System) -> Iterator[Finding]:
        raise error
        yield

    return Check(name, look)


def test_every_fault_of_a_check_is_told() -> None:
    two = [fault("disk", "the disk is full", "Free some."), fault("disk", "the other one too", "Free some.")]
    assert list(diagnose(SYSTEM, [gives(*two), gives(well("database", "fine"))])) == [*two, well("database", "fine")]


def test_an_error_is_the_finding_of_its_check_and_the_others_go_on() -> None:
    broken = raises("database", StoreError("There is no database."))
    mute = raises("lag", KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out")))
    first, second, third = diagnose(SYSTEM, [broken, mute, gives(well("disk", "fine"))])
    assert (first.name, first.ok, first.says) == ("database", False, "There is no database.")
    assert (second.name, second.ok, "timed out" in second.says) == ("lag", False, True)
    assert third.ok


def test_what_needs_a_broker_is_left_out_when_none_answers() -> None:
    checks = [
        gives(fault("broker", "does not answer", "Start it.")),
        Check("topics", lambda _: iter([well("topics", "not asked for")]), needs=("broker",)),
    ]
    assert [finding.name for finding in diagnose(SYSTEM, checks)] == ["broker"]


def test_a_check_needs_only_checks_before_it() -> None:
    seen: set[str] = set()
    for check in CHECKS:
        assert seen.issuperset(check.needs), check.name
        seen.add(check.name)
