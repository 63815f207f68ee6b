"""The folder of a backup: made under another name, and given its own when all of it is durable."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everwatch.backup.damage import Damaged
from everwatch.backup.database_copy import digest_of_file
from everwatch.backup.manifest import MANIFEST, FileCopy, Manifest, decode_manifest, encode_manifest
from everwatch.backup.record_file import unwritable
from everwatch.core.errors import SettingsError
from everwatch.core.private_files import make_private_folder

PARTIAL = ".partial"
"""How the folder of a backup that is not finished ends."""


class NewBackup:
    """A backup that is being written, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_finished = False

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, the last of all files. Raises EverwatchError."""
        path = self.folder / MANIFEST
        try:
            with path.open("xb") as stream:
                stream.write(encode_manifest(manifest))
                stream.flush()
                os.fsync(stream.fileno())
            for folder in (*(each for each in self.folder.rglob("*") if each.is_dir()), self.folder):
                _sync_folder(folder)
        except OSError as error:
            raise unwritable(path, error) from None
        self.is_finished = True


def expect_free(folder: Path) -> None:
    """Raise SettingsError if there is something in the place of a new backup."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is there already: name a folder that is not, a backup changes none.")


@contextmanager
def new_backup(folder: Path) -> Iterator[NewBackup]:
    """Make the folder of a new backup; it has its name when the block ends and the backup is finished, else it goes.

    Raises SettingsError if there is something already, EverwatchError when the disk does not take it.
    """
    expect_free(folder)
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    try:
        # of one that was killed; its name is not that of a backup
        shutil.rmtree(partial, ignore_errors=True)
        make_private_folder(partial)
    except OSError as error:
        raise unwritable(partial, error) from None
    made = NewBackup(partial)
    try:
        yield made
        if made.is_finished:
            try:
                partial.rename(folder)
                _sync_folder(folder.parent)
            except OSError as error:
                raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """Return what a backup holds. Raises SettingsError where there is none, Damaged."""
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}: name the folder of a backup.")
    try:
        return decode_manifest((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise Damaged(MANIFEST, "it is missing: this is no backup, or one that was not finished") from None
    except OSError as error:
        raise Damaged(MANIFEST, f"it cannot be read ({error.strerror})") from None


def damage_of(folder: Path, file: str, expected: FileCopy) -> Damaged | None:
    """Compare a file with the manifest's size and digest; None if it is as it was written."""
    try:
        found = digest_of_file(folder / file)
    except FileNotFoundError:
        return Damaged(file, "it is missing")
    except OSError as error:
        return Damaged(file, f"it cannot be read ({error.strerror})")
    if found.size != expected.size:
        return Damaged(file, f"it has {found.size:,} bytes instead of {expected.size:,}")
    if found.sha256 != expected.sha256:
        return Damaged(file, "its bytes are not those that were written (SHA-256)")
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
