"""The account at the end: the audit of the demo's own window of time."""

from dataclasses import dataclass

from everwatch.operations.audit import AuditTerms, Label, Waits, audit
from everwatch.store.interface import Reader


@dataclass(frozen=True)
class Account:
    """Ticks due in a window of time.

    ``missed``: due, but neither a result nor a skipped one stands for it. ``waiting``: still in an executor's queue.
    ``duplicates``: results that would count twice or that no schedule asked for. ``redelivered``: results that came
    more than once and are held once.
    """

    due: int
    stored: int
    missed: int
    duplicates: int
    redelivered: int
    waiting: int = 0


def settle_account(reader: Reader, after: int, upto: int, waits: Waits = lambda _stretch, _instant: False) -> Account:
    """Count the ticks that were due at after < t <= upto, by their fate. ``waits``: see ``audit``."""
    terms = AuditTerms(after + 1, upto + 1, waits=waits)
    report = audit(reader.history(), reader.identities(after + 1, upto + 1), terms)
    missed, waiting = report.counts[Label.MISSED], report.counts[Label.WAITING]
    return Account(
        due=report.ticks,
        stored=report.ticks - missed - waiting,
        missed=missed,
        duplicates=report.counts[Label.DUPLICATE],
        redelivered=report.redelivered,
        waiting=waiting,
    )
