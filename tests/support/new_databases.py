"""Databases in files, with the tables in place: copies of one that was migrated once by this process of tests.

To migrate one takes 40 times the CPU time of a copy. Tests of how tables are made open a store as the sink does.
"""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

from everwatch.core.config import Settings
from everwatch.core.private_files import make_private_database
from everwatch.notifier.storage import Storage, database_url_of, open_storage
from everwatch.store import ResultStore, open_store
from everwatch.store.database import parse_url
from everwatch.store.sqlite import file_of


class _Closable(Protocol):
    def close(self) -> None:
        """Let go of the database."""


Opened = TypeVar("Opened", bound=_Closable)


def open_new_store(settings: Settings) -> ResultStore:
    """The store of a sink that was started there before."""
    return _open_new(settings, settings.database_url, open_store)


def open_new_storage(settings: Settings) -> Storage:
    """The storage of a notifier that was started there before."""
    return _open_new(settings, database_url_of(settings), open_storage)


def _open_new(settings: Settings, database_url: str, opening: Callable[[Settings], Opened]) -> Opened:
    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite" and not file_of(url).exists():
        make_private_database(file_of(url))
        file_of(url).write_bytes(_migrated(opening, file_of(url).name))
    return opening(settings)


@cache
def _migrated(opening: Callable[[Settings], _Closable], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        opening(Settings(data_dir=Path(folder))).close()
        return (Path(folder) / name).read_bytes()
