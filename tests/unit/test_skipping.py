"""What cannot be read is given up as far as it goes, and no further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from everwatch.cli.main import app
from everwatch.core.config import Settings
from everwatch.kafka.skipping import first_readable
from everwatch.kafka.topics import Topics

TOPICS = Topics.of(Settings())


@given(st.integers(0, 200), st.integers(0, 3_000), st.integers(0, 3_000))
def test_the_first_offset_behind_the_damage_is_found(offset: int, damaged: int, behind: int) -> None:
    end = offset + damaged + behind
    asked: list[int] = []

    def readable(at: int) -> bool:
        asked.append(at)
        return at >= offset + damaged

    assert first_readable(readable, offset, end) == offset + damaged
    assert len(asked) <= 2 * (damaged + 1).bit_length() + 2


def test_damage_up_to_the_end_is_given_up_to_the_end() -> None:
    assert first_readable(lambda _: False, 7, 1_000) == 1_000
    assert first_readable(lambda _: False, 7, 7) == 7


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("signups", "give TOPIC/PARTITION/OFFSET"),
        ("signups/0", "give TOPIC/PARTITION/OFFSET"),
        ("signups/0/x", "give TOPIC/PARTITION/OFFSET"),
        ("others/0/1", "one of Everwatch's topics"),
        (f"{TOPICS.monitors_changelog}/0/1", "holds state"),
        ("progress/0/1", "holds state"),
    ],
)
def test_a_place_that_is_none_or_holds_state_is_refused(place: str, says: str) -> None:
    said = CliRunner().invoke(app, ["topics", "skip", place, "--bootstrap-servers", "127.0.0.1:1", "--yes"])
    assert said.exit_code != 0
    assert says in f"{said.output} {said.exception}"
