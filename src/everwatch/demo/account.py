"""The account at the end: the audit of the demo's own window of time."""

from dataclasses import dataclass

from everwatch.operations.audit import Label, audit
from everwatch.store.interface import Reader


@dataclass(frozen=True)
class Account:
    """Ticks due in a window of time.

    ``missed``: due, but neither a result nor a skipped one stands for it. ``duplicates``: results that would count
    twice or that no schedule asked for. ``redelivered``: results that came more than once and are held once.
    """

    due: int
    stored: int
    missed: int
    duplicates: int
    redelivered: int


def settle_account(reader: Reader, after: int, upto: int) -> Account:
    """Count what was due at after < t <= upto, and what became of it."""
    report = audit(reader.history(), reader.identities(after + 1, upto + 1), after + 1, upto + 1)
    missed = report.counts[Label.MISSED]
    return Account(
        due=report.ticks,
        stored=report.ticks - missed,
        missed=missed,
        duplicates=report.counts[Label.DUPLICATE],
        redelivered=report.redelivered,
    )
