"""Every fault that ``everwatch doctor`` finds says what to do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

import everwatch.diagnosis
from everwatch.core import errors
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.diagnosis import CHECKS, Finding, System, diagnose
from everwatch.diagnosis.checks.broker import topic_findings
from everwatch.diagnosis.finding import remedy_of
from everwatch.kafka.topic_administration import TopicState

SYSTEM = System(Settings(), "127.0.0.1:1", SettableClock())
FOLDER = Path(everwatch.diagnosis.__file__).parent


def error_classes() -> list[type[EverwatchError]]:
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, EverwatchError)]


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: str(kind.__name__))
def test_what_a_check_raises_has_a_remedy(kind: type[EverwatchError]) -> None:
    error = kind.__new__(kind)
    assert remedy_of(error)


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_whichever_check_kafka_does_not_answer_its_fault_has_a_remedy(code: int) -> None:
    def look(_: System) -> Iterator[Finding]:
        raise KafkaException(KafkaError(code, "no"))
        yield

    found = [each for check in CHECKS for each in diagnose(SYSTEM, [check._replace(look=look, needs=())])]
    assert len(found) == len(CHECKS)
    assert all(finding.remedy and not finding.ok for finding in found)


def test_topics_that_are_missing_or_of_another_count_have_a_remedy() -> None:
    states = [TopicState("signups", 0, False, "absent"), TopicState("signals", 3, False, "3")]
    found = list(topic_findings(states, ["eu"], SYSTEM.settings))
    assert len(found) == 3
    assert all(finding.remedy and not finding.ok for finding in found)


def test_no_check_makes_a_fault_without_a_remedy() -> None:
    calls = 0
    for path in [*FOLDER.glob("*.py"), *FOLDER.glob("checks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == "Finding":
                assert path.name == "finding.py", f"{path}: use fault() or well()"
            elif node.func.id == "fault":
                calls += 1
                assert len(node.args) == 3, f"{path}:{node.lineno}"
                assert not (isinstance(node.args[2], ast.Constant) and not node.args[2].value), f"{path}:{node.lineno}"
    assert calls > len(CHECKS)
