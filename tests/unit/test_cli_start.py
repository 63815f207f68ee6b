"""Starting a command: it imports no heavy library that it does not use, and the help names every command."""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everwatch.cli.main import COMMANDS
from everwatch.cli.support.lazy_commands import ListedCommand
from everwatch.store.database import open_for_writing

HEAVY = ("aiohttp", "aiokafka", "alembic", "faust", "pycurl", "pydantic", "sqlalchemy", "structlog")


def imported_by(*arguments: str, **environment: str) -> set[str]:
    """The heavy libraries that a command has imported when it is over."""
    program = (
        "import sys\n"
        "from everwatch.cli import main\n"
        f"sys.argv = ['everwatch', *{list(arguments)!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print('imported:', *(name for name in sys.modules if '.' not in name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=os.environ | environment
    )
    _, _, names = done.stdout.rpartition("imported:")
    assert names, done.stderr
    return set(names.split()) & set(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        # refused before a broker is looked for, after everything was imported
        ("signal", "u-1", "job", "--start", "--fail"),
        # each kind validates its config without the client that it checks with
        ("signup", "u-1", "--http", "ftp://example.com"),
        ("signup", "u-1", "--tcp", "a b:1"),
        ("monitor", "put", "u-1", "shop", "--kind", "http"),
        ("monitor", "put", "u-1", "shop", "--kind", "webhook"),
        ("monitor", "put", "u-1", "shop", "--kind", "tls"),
        ("task", "create", "u-1", "t-1", "--in", "1m", "--kind", "http"),
    ],
)
def test_a_short_command_imports_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) == set()


ALL_HELPS = f"""
import sys
import click
import typer
from everwatch.cli.main import app

def imports(command, context):
    command.get_help(context)
    heavy = {{*{HEAVY!r}}} & sys.modules.keys()
    assert not heavy, (context.command_path, heavy)
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        known = command.get_command(context, name)
        imports(known, click.Context(known, parent=context, info_name=name))

root = typer.main.get_command(app)
imports(root, click.Context(root, info_name="everwatch"))
"""


def test_no_commands_help_imports_a_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", ALL_HELPS], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_a_command_that_reads_the_database_imports_no_migrations(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/everwatch.db"
    open_for_writing(database).dispose()
    assert imported_by("user", "list", EVERWATCH_DATABASE=database) & {"alembic", "faust", "sqlalchemy"} == {
        "sqlalchemy"
    }


@pytest.mark.parametrize("listed", COMMANDS, ids=lambda listed: listed.name)
def test_the_list_of_commands_says_of_each_what_its_own_help_says(listed: ListedCommand) -> None:
    first, *_ = inspect.cleandoc(listed.load().help or "").split("\n\n")
    assert listed.summary == " ".join(first.split())


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its whole name."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield name, command
        return
    for each, below in subcommands.items():
        yield from leaves(f"{name} {each}", below)


def test_the_help_of_every_command_has_an_example() -> None:
    found = dict(leaf for listed in COMMANDS for leaf in leaves(listed.name, listed.load()))
    assert "user purge" in found
    assert [name for name, command in found.items() if "Example" not in (command.help or "")] == []
