"""Progress messages while a file is processed."""

import io

from rich.console import Console
from rich.progress import TextColumn

from everwatch.cli.support.progress_bar import MOST_REASONS_SHOWN, file_bar, print_refused, progress_bar


def console_of(told: io.StringIO, *, terminal: bool = False, width: int = 40) -> Console:
    return Console(file=told, force_terminal=terminal, width=width, color_system=None)


def test_the_first_ten_refused_lines_are_told_and_then_once_where_the_others_are() -> None:
    told = io.StringIO()
    for number in range(1, 20):
        print_refused(console_of(told), number, f"line {number}: wrong [at $.plan]", "… and 9 more")
    lines = told.getvalue().splitlines()
    assert (len(lines), lines[-1]) == (MOST_REASONS_SHOWN + 1, "… and 9 more")
    assert lines[0] == "line 1: wrong [at $.plan]"


def test_a_long_reason_stays_one_line() -> None:
    told = io.StringIO()
    print_refused(console_of(told), 1, "word " * 30, "")
    assert told.getvalue().count("\n") == 1


def test_a_bar_is_shown_on_a_terminal() -> None:
    told = io.StringIO()
    with file_bar(console_of(told, terminal=True, width=120), only_on_terminals=True) as bar:
        bar.add_task("Importing", total=10, completed=5, told="5 rows")
        bar.refresh()
    assert "Importing" in told.getvalue()
    assert "50%" in told.getvalue()
    assert "5 rows" in told.getvalue()


def test_a_bar_only_for_terminals_leaves_a_log_alone() -> None:
    told = io.StringIO()
    with progress_bar(console_of(told), TextColumn("{task.completed}"), only_on_terminals=True) as bar:
        bar.add_task("Reading", total=None)
        bar.refresh()
    assert told.getvalue() == ""
