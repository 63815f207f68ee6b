"""Commands run within the test's process, as a shell would see them."""

from typing import Any, NamedTuple

import orjson
import typer
from typer.testing import CliRunner

from everwatch.core.errors import EverwatchError


class Said(NamedTuple):
    """Exit status, standard output, and standard error or the error that ended the command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


def run_command(app: typer.Typer, *arguments: object, text: bytes | None = None, **environment: str) -> Said:
    """Run a command of ``app``; an error on purpose ends as ``everwatch`` ends it. ``text``: its standard input."""
    given = {"COLUMNS": "200", "NO_COLOR": "1", **environment}
    found = CliRunner().invoke(app, [str(each) for each in arguments], input=text, env=given)
    if isinstance(found.exception, EverwatchError):
        err = found.stderr.lstrip("\n") + str(found.exception)  # without the end of a progress bar
        return Said(found.exception.exit_code, found.stdout, err)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return Said(found.exit_code, found.stdout, found.stderr)
