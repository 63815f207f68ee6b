"""Check of the age of the newest backup."""

from collections.abc import Iterator

from everwatch.backup.newest import newest_backup
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.schedule.duration import describe_duration

OLDEST_MS = 26 * 3_600_000
"""A backup each day, and two hours for one that takes long."""


def check_backup(system: System) -> Iterator[Finding]:
    """Look how old the newest backup in EVERWATCH_BACKUP_DIR is; no check where that is not set."""
    folder = system.settings.backup_dir
    if folder is None:
        return
    remedy = "Run 'everwatch backup', and see why its schedule does not."
    try:
        finished_at = newest_backup(folder)
    except OSError as error:
        yield fault("backup", f"the folder {folder} cannot be read: {error.strerror}", "Check EVERWATCH_BACKUP_DIR.")
        return
    if finished_at is None:
        yield fault("backup", f"there is no backup in {folder}", remedy)
        return
    age = max(0, system.clock.now_ms() - finished_at)
    said = f"the newest backup in {folder} is {describe_duration(age // 1000 * 1000)} old"
    yield fault("backup", said, remedy) if age > OLDEST_MS else well("backup", said)
