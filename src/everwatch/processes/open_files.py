"""Limit of open files of a process."""

import resource
from contextlib import suppress


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each connection takes a file, and 1,024 is a usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
