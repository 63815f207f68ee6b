"""The newest backup of a folder: its name says when it was begun, its manifest when it was finished."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from everwatch.backup.damage import Damaged
from everwatch.backup.folder import PARTIAL, read_manifest
from everwatch.backup.manifest import MANIFEST
from everwatch.core.errors import SettingsError
from everwatch.schedule.duration import DAY_MS

_NAME = re.compile(r"\d{8}T\d{6}Z")
_UNFINISHED_FOR_MS = DAY_MS


def name_of_backup(now: int) -> str:
    """Return the name of a backup that is begun at ``now`` (ms): ``20261128T231500Z``."""
    return datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def drop_older(folder: Path, keep: int) -> list[Path]:
    """Delete all but the newest ``keep`` finished backups in ``folder``; gives those that went. Raises OSError."""
    finished = [path for path in _by_age(folder) if (path / MANIFEST).is_file()]
    for path in finished[keep:]:
        # without its manifest it is no backup any more, should this be interrupted
        (path / MANIFEST).unlink()
        shutil.rmtree(path)
    return finished[keep:]


def drop_unfinished(folder: Path, now: int) -> list[Path]:
    """Delete what backups that were killed have left in ``folder``, a day after they began; gives what went.

    Raises OSError.
    """
    if not folder.is_dir():
        return []
    began_by = name_of_backup(now - _UNFINISHED_FOR_MS)
    partial = sorted(folder.glob(f"*{PARTIAL}"))
    left = [path for path in partial if _NAME.fullmatch(path.stem) and path.stem < began_by]
    for path in left:
        shutil.rmtree(path)
    return left


def newest_backup(folder: Path) -> int | None:
    """Return when the newest backup in ``folder`` was finished, ms; None without one whose manifest is whole.

    Raises OSError where the folder cannot be read.
    """
    # by name, the newest first: only as many manifests are read as it takes
    for each in _by_age(folder):
        if (each / MANIFEST).is_file():
            try:
                return read_manifest(each).finished_at
            except (Damaged, SettingsError):
                continue
    return None


def _by_age(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
