"""Compile the tests once for all processes of a run: each collects all of them, at the same time as the others."""

import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest


def import_tests(places: Iterable[Path], number: int, count: int) -> None:
    """Import the test modules of files and folders, from share ``number`` of ``count`` on: others begin elsewhere.

    Pytest rewrites the assertions of a module that is imported, and keeps what that gives: a process that comes to a
    share of another one finds it done. What cannot be imported is reported by the collection.
    """
    found = {file for place in places for file in ([place] if place.is_file() else place.rglob("test_*.py"))}
    files = sorted(found)
    begin = number * len(files) // count
    for path in files[begin:] + files[:begin]:
        # as the collection does, which finds the module imported
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(path.stem)
