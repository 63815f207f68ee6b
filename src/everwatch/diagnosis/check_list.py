"""The list of checks, in the order of their lines, and how they are run.

To add one: a function ``(System) -> Iterator[Finding]`` in a module of its own, and a line in ``CHECKS``. It yields one
finding for each fault, each with a remedy, or a single finding that all is well. It may raise EverwatchError.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from confluent_kafka import KafkaException

from everwatch.core.errors import EverwatchError
from everwatch.diagnosis.checks.access import check_certificates, check_rights
from everwatch.diagnosis.checks.backup import check_backup
from everwatch.diagnosis.checks.broker import check_broker, check_topics
from everwatch.diagnosis.checks.changelog import check_changelog
from everwatch.diagnosis.checks.database import check_database
from everwatch.diagnosis.checks.dead_letters import check_dead_letters
from everwatch.diagnosis.checks.disk import check_disk
from everwatch.diagnosis.checks.emission import check_emission
from everwatch.diagnosis.checks.entries import check_entries
from everwatch.diagnosis.checks.executors import check_executors
from everwatch.diagnosis.checks.folders import check_folders
from everwatch.diagnosis.checks.installation import check_schemas, check_settings
from everwatch.diagnosis.checks.network_policy import check_network_policy
from everwatch.diagnosis.checks.notifier import check_notifier
from everwatch.diagnosis.checks.sink import check_sink
from everwatch.diagnosis.checks.transactions import check_transactions
from everwatch.diagnosis.checks.unreadable import check_unreadable
from everwatch.diagnosis.checks.workers import check_workers
from everwatch.diagnosis.finding import Finding, fault, remedy_of
from everwatch.diagnosis.system import System
from everwatch.kafka.access_errors import refused


class Check(NamedTuple):
    """One check. ``needs``: names of checks without whose success it is left out."""

    name: str
    look: Callable[[System], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("settings", check_settings),
    Check("schemas", check_schemas),
    Check("certificates", check_certificates),
    Check("broker", check_broker, needs=("certificates",)),
    Check("topics", check_topics, needs=("certificates", "broker")),
    Check("rights", check_rights, needs=("certificates", "broker")),
    Check("workers", check_workers, needs=("certificates", "broker", "topics")),
    Check("ticks", check_emission, needs=("certificates", "broker", "topics")),
    Check("changelog", check_changelog, needs=("certificates", "broker", "topics")),
    Check("entries", check_entries, needs=("certificates", "broker", "topics")),
    Check("executors", check_executors, needs=("certificates", "broker", "topics")),
    Check("sink", check_sink, needs=("certificates", "broker", "topics")),
    Check("notifier", check_notifier, needs=("certificates", "broker", "topics")),
    Check("transactions", check_transactions, needs=("certificates", "broker", "topics")),
    Check("unreadable", check_unreadable, needs=("certificates", "broker", "topics")),
    Check("dead letters", check_dead_letters, needs=("certificates", "broker", "topics")),
    Check("database", check_database),
    Check("disk", check_disk),
    Check("folders", check_folders),
    Check("backup", check_backup),
    Check("network policy", check_network_policy),
)


def diagnose(system: System, checks: Iterable[Check] = CHECKS) -> Iterator[Finding]:
    """Run the checks in order; an error that one raises is its finding."""
    failed: set[str] = set()
    for check in checks:
        if failed.intersection(check.needs):
            continue
        for finding in _findings(check, system):
            if not finding.ok:
                failed.add(check.name)
            yield finding


def _findings(check: Check, system: System) -> Iterator[Finding]:
    try:
        yield from check.look(system)
    except EverwatchError as error:
        yield fault(check.name, str(error), remedy_of(error))
    except KafkaException as error:
        denied = refused(error.args[0])
        if denied is not None:
            yield fault(check.name, str(denied), remedy_of(denied))
            return
        reason = error.args[0].str()
        yield fault(check.name, f"Kafka did not answer the question: {reason}.", "See the broker's log, and try again.")
