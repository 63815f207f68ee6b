"""Folders and files that only their owner may read: the configs of monitors hold secrets.

Folders are 0700 and files 0600. Everything that Everwatch makes is made here or under the umask that
``keep_files_private`` sets, in this process and in those that it starts.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
_OTHERS = 0o077
# what Everwatch itself keeps in a data folder
_FOLDERS = ("kafka", "workers", "logs", "imports", "demo", "demo-certificates")
_FILES = (
    "everwatch.db",
    "everwatch.db-wal",
    "everwatch.db-shm",
    "everwatch.db-sink",
    "demo-ports",
    "schema-registry.json",
)
# "lost+found" is the file system's own, in the root of a volume
_KNOWN = frozenset({*_FOLDERS, *_FILES, "lost+found"})
_DATABASE_ENDINGS = ("", "-wal", "-shm")
_usual_umask: int | None = None


def keep_files_private() -> None:
    """Let this process, and those that it starts, make files and folders that only their owner may read."""
    global _usual_umask
    _usual_umask = os.umask(_OTHERS)


@contextmanager
def shared_files() -> Iterator[None]:
    """Make files meanwhile as the umask said before ``keep_files_private``: for public files that may be shared."""
    if _usual_umask is None:
        yield
        return
    os.umask(_usual_umask)
    try:
        yield
    finally:
        os.umask(_OTHERS)


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` and those above it that are missing, all 0700; one that exists keeps its mode. Raises OSError."""
    missing = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        missing.append(each)
    for each in reversed(missing):
        each.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not folder.is_dir():
        # using it as a folder raises the error
        folder.mkdir()


def make_private_database(file: Path) -> None:
    """Make the file of an SQLite database and its folder where missing, and close it to others where it is ours.

    SQLite gives the files beside a database (-wal, -shm) the database's mode. Raises OSError.
    """
    make_private_folder(file.parent)
    # only a new file is opened: closing one gives back the locks that this process has on it. Whatever else is the
    # matter with the file, SQLite says.
    with suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    for ending in _DATABASE_ENDINGS:
        _close(file.with_name(f"{file.name}{ending}"), FILE_MODE, os.geteuid())


def make_private_data_folder(folder: Path, user: int | None = None) -> str:
    """Make a data folder, or close one that is there, with what Everwatch keeps in it. Raises OSError.

    A folder that belongs to another user or holds other things than Everwatch's keeps its mode: the sentence returned
    says so; it is empty if all is well. ``user``: number of the user whose folder it should be; None: of this process.
    """
    make_private_folder(folder)
    user = os.geteuid() if user is None else user
    strangers = sorted({entry.name for entry in folder.iterdir()} - _KNOWN)
    if strangers:
        # a name of ours in such a folder may be another's: nothing is touched
        return _warning(
            folder,
            f"holds more than Everwatch's data ({strangers[0]}): give Everwatch a folder of its own, which only its"
            " user may read",
        )
    for name in _FOLDERS:
        _close(folder / name, FOLDER_MODE, user)
    for name in _FILES:
        _close(folder / name, FILE_MODE, user)
    _close(folder, FOLDER_MODE, user)
    return _warning(folder, "is not this user's to close: have its owner run chmod 700 on it")


def exposed_in(folder: Path, database: Path | None) -> list[Path]:
    """Find the paths of a data folder and a database that other users may read, without what a closed folder
    protects."""
    inside = [folder / name for name in (*_FOLDERS, *_FILES)] if mode_for_others(folder) else []
    found = [path for path in inside if mode_for_others(path)]
    if database is not None and database not in inside and not _is_in(database, folder) and mode_for_others(database):
        found.append(database)
    return found


def mode_for_others(path: Path) -> int:
    """The bits of a path's mode that let other users read, write or enter it; 0 if there is no such path."""
    try:
        return _mode(path) & _OTHERS
    except OSError:
        return 0


def _warning(folder: Path, why: str) -> str:
    if not mode_for_others(folder):
        return ""
    return f"The data folder {folder} is open to other users (mode {_mode(folder):04o}) and {why}."


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _close(path: Path, mode: int, user: int) -> None:
    """Close a path that is there and belongs to the user. A symbolic link is left alone: it leads anywhere."""
    # not there, or on a file system that takes no change: ``exposed_in`` tells of the latter
    with suppress(OSError):
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_uid == user and found.st_mode & _OTHERS:
            path.chmod(mode)
