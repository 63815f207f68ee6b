"""Check of the access of other users to the local state."""

from collections.abc import Iterator
from pathlib import Path

from everwatch.core.private_files import exposed_in, mode_for_others
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System

_SQLITE = "sqlite:///"


def check_folders(system: System) -> Iterator[Finding]:
    """Look for state that other users of this machine may read: configs hold secrets."""
    folder, url = system.settings.data_dir, system.settings.database_url
    database = Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None
    exposed = exposed_in(folder, database)
    for path in exposed:
        yield fault(
            "folders",
            f"other users may look into {path}",
            f"Run chmod {700 if path.is_dir() else 600} {path} as its owner.",
        )
    if not exposed:
        named = " (its names are open to other users, what it holds is not)" if mode_for_others(folder) else ""
        yield well("folders", f"only its owner may read what {folder} holds{named}")
