"""Check of the disks that hold local state."""

from collections.abc import Iterator
from pathlib import Path

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System

# nearly full: less than a tenth is left, and less than this
ENOUGH_BYTES = 2 * 1024**3
_SQLITE = "sqlite:///"


def check_disk(system: System) -> Iterator[Finding]:
    """Compare the free space of each folder's file system with what Kafka, RocksDB and the database need to go on."""
    for name, folder in _folders(system).items():
        try:
            space = system.disk_space(_existing(folder))
        except OSError as error:
            yield fault("disk", f"the {name} {folder} cannot be looked at: {error.strerror}", "Check the disk.")
            continue
        left = f"{_size(space.free)} of {_size(space.total)} are free at the {name} {folder}"
        if space.free < min(ENOUGH_BYTES, space.total // 10):
            yield fault("disk", f"only {left}", "Free some space, or shorten EVERWATCH_RESULTS_RETENTION_HOURS.")
        else:
            yield well("disk", left)


def _folders(system: System) -> dict[str, Path]:
    """The folders of local state; the database's only where it lies elsewhere."""
    data, url = system.settings.data_dir, system.settings.database_url
    folders = {"data folder": data}
    if url.startswith(_SQLITE):
        folder = Path(url.removeprefix(_SQLITE)).parent
        if not folder.is_relative_to(data):
            folders["database's folder"] = folder
    return folders


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((each for each in (folder, *folder.absolute().parents) if each.exists()), folder)


def _size(count: int) -> str:
    """Bytes for people."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
