"""Tests of which colour a state has."""

import pytest
import typer
from rich.style import Style

from everwatch.model import Status
from everwatch.operations import state_colours


@pytest.mark.parametrize("colour", sorted({*state_colours.OF_STATE.values(), *state_colours.OF_STATUS.values()}))
def test_typer_and_rich_know_the_colour(colour: str) -> None:
    assert "\x1b[" in typer.style("up", fg=colour)
    assert Style.parse(colour).color is not None


def test_every_status_has_a_colour() -> None:
    assert set(state_colours.OF_STATUS) == set(Status)
