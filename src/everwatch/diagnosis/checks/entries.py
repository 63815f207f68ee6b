"""Check for entries of the table that no worker can decode: their monitors do not run."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System


def check_entries(system: System) -> Iterator[Finding]:
    """Look at what the owner of each partition notes of it."""
    passed_over = {number: noted.undecodable for number, noted in sorted(system.noted.items()) if noted.undecodable}
    for number, count in passed_over.items():
        entries = "1 entry" if count == 1 else f"{count:,} entries"
        yield fault(
            "entries",
            f"partition {number}: its worker cannot decode {entries} of the table and passes over them",
            "Its log names them, and so do dead letters of the changelog. If a newer version wrote them, run that one;"
            " else put these monitors, or sign their users up, again.",
        )
    if not passed_over:
        yield well("entries", "every entry of the table can be decoded")
