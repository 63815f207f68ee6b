"""Progress of a file: a bar on a terminal, and the first lines that were refused."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

MOST_REASONS_SHOWN = 10


def progress_bar(console: Console, *columns: ProgressColumn, only_on_terminals: bool = False) -> Progress:
    """A bar that is gone when it ends; ``columns`` stand behind it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=console,
        transient=True,
        disable=only_on_terminals and not console.is_terminal,
    )


def file_bar(console: Console, *, only_on_terminals: bool = False) -> Progress:
    """The bar of a file that is read; its tasks have a field ``told``: how many lines, and how fast."""
    told = TextColumn("{task.fields[told]}")
    columns = (TaskProgressColumn(), told, TimeRemainingColumn())
    return progress_bar(console, *columns, only_on_terminals=only_on_terminals)


def print_refused(console: Console, number: int, text: str, others: str, *, soft_wrap: bool = True) -> None:
    """Print the ``number``-th refused line; of all beyond the first ten only ``others``, once."""
    if number <= MOST_REASONS_SHOWN:
        console.print(text, highlight=False, markup=False, soft_wrap=soft_wrap)
    elif number == MOST_REASONS_SHOWN + 1:
        console.print(others, markup=False)
