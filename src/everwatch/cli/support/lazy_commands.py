"""Commands that are listed by name and imported when they are run."""

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from everwatch.cli.support.global_options import CommandReach


class ListedCommand(NamedTuple):
    """A command: its name, the panel of the help it stands in, where it is, and its summary.

    ``target``: ``module:attribute`` in ``cli.commands``, a function or a Typer application of sub-commands.
    ``reach``: what it works on.
    """

    name: str
    panel: str
    target: str
    summary: str
    reach: CommandReach = CommandReach.DIRECT

    def load(self) -> Any:
        """Import the command and return it as Typer wants it."""
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(f"everwatch.cli.commands.{module}"), attribute)
        if isinstance(command, typer.Typer):
            command.info.name = self.name
            return get_command(command)
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_show_locals=False)
        alone.command(self.name)(command)
        return get_command(alone)


class LazyGroup(TyperGroup):
    """A group whose commands are listed without being imported."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that is to be run, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        listed = getattr(getattr(command, "callback", None), "listed", None)
        return name, listed.load() if listed else command, rest


def list_command(app: typer.Typer, listed: ListedCommand) -> None:
    """Add a command to the help of ``app``, to be imported when it is run."""

    def stand_in() -> None:
        """Never called: ``LazyGroup`` runs the command itself."""

    stand_in.listed = listed  # type: ignore[attr-defined]
    app.command(listed.name, help=listed.summary, rich_help_panel=listed.panel)(stand_in)
