"""``everwatch operator``: what is refused before a broker is looked for."""

import pytest
from support.command_line import run_command

from everwatch.cli.commands.operators import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "a/b"), "no name of an operator"),
        (("add", "x" * 65), "no name of an operator"),
        (("change", "ann"), "Say what to change"),
        (("remove", ""), "no name of an operator"),
    ],
)
def test_what_is_wrong_in_itself_is_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    ended = run_command(app, *arguments)
    assert ended.status == 2
    assert said in ended.err
