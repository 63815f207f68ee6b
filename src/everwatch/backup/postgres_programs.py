"""PostgreSQL's own programs ``pg_dump`` and ``pg_restore``, of which a password is in no command line."""

import subprocess
from pathlib import Path

from sqlalchemy.engine import URL

from everwatch.core.config import environment_with
from everwatch.core.errors import StoreError


def dump(url: URL, snapshot: str, file: Path) -> None:
    """Write the database as of a snapshot into ``file``. Raises StoreError."""
    what = ("--format=custom", "--no-comments", f"--snapshot={snapshot}")
    _run(url, "pg_dump", *what, f"--file={file}", f"--dbname={_address(url)}")


def check_loadable(url: URL, file: Path) -> None:
    """Have ``pg_restore`` read the table of contents of ``file``. Raises StoreError if it is missing or too old."""
    _run(url, "pg_restore", "--list", str(file))


def load(url: URL, file: Path) -> None:
    """Restore ``file`` into an empty database, all or nothing. Raises StoreError."""
    whole = ("--single-transaction", "--exit-on-error", "--no-comments")
    _run(url, "pg_restore", *whole, f"--dbname={_address(url)}", str(file))


def _run(url: URL, program: str, *arguments: str) -> None:
    # the user that restores may be another one than the tables' owner
    command = [program, "--no-owner", "--no-privileges", "--no-password", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs, without a shell
            command,
            env=environment_with({"PGPASSWORD": url.password} if url.password else {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise StoreError(
            f"The program {program} is not here: install PostgreSQL's client programs of the server's version."
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = next((line for line in said if "error:" in line), said[-1] if said else "it says nothing")
        reason = reason.partition("error:")[2].strip() or reason
        raise StoreError(f"{program} failed on the database {url.database}: {reason}.")


def _address(url: URL) -> str:
    without = url.set(drivername="postgresql", password=None)
    return without.render_as_string(hide_password=False)
