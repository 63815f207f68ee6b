"""Durations: what is written is read back, in every way of writing it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everwatch.schedule.duration import DAY_MS, LONGEST_MS, describe_duration, format_duration, parse_duration_ms

durations_ms = st.integers(min_value=0, max_value=LONGEST_MS)


@given(durations_ms)
def test_what_is_formatted_is_parsed_back(duration_ms: int) -> None:
    assert parse_duration_ms(format_duration(duration_ms)) == duration_ms


@given(durations_ms)
def test_the_normal_form_is_a_fixed_point(duration_ms: int) -> None:
    text = format_duration(duration_ms)
    assert format_duration(parse_duration_ms(text)) == text


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99_999))
def test_iso_and_units_say_the_same(days: int, hours: int, minutes: int, milliseconds: int) -> None:
    naive = ((days * 24 + hours) * 60 + minutes) * 60_000 + milliseconds
    seconds = f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
    assert parse_duration_ms(f"P{days}DT{hours}H{minutes}M{seconds}S") == naive
    assert parse_duration_ms(f"{days}d{hours}h{minutes}m{seconds}s") == naive
    assert parse_duration_ms(f"{days}d{hours}h{minutes}m{milliseconds}ms") == naive


@given(st.integers(0, LONGEST_MS // 1000))
def test_a_number_means_seconds_as_number_and_as_text(seconds: int) -> None:
    assert parse_duration_ms(seconds) == parse_duration_ms(str(seconds)) == parse_duration_ms(f"{seconds}s")


@given(st.text(max_size=20) | st.floats() | st.integers())
def test_anything_gives_a_duration_or_a_sentence(value: str | float) -> None:
    try:
        duration_ms = parse_duration_ms(value)
    except ValueError as error:
        sentence = str(error)
    else:
        assert 0 <= duration_ms <= LONGEST_MS
        sentence = describe_duration(duration_ms)
    assert sentence


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", DAY_MS), ("500ms", 500), ("1h30m", 5_400_000),
        ("PT30S", 30_000), ("P1DT2H", DAY_MS + 7_200_000), ("P2W", 14 * DAY_MS), (1.5, 1_500), (0.1, 100), ("0.1", 100),
        (" 10s ", 10_000), ("1.5h", 5_400_000), (0, 0),
    ],
)  # fmt: skip
def test_durations_people_write(text: str | float, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "part_of_the_sentence"),
    [
        ("", "not a duration"), ("soon", "not a duration"), ("5 parsecs", "not a duration"),
        ("30m1h", "not a duration"), ("-5s", "not a duration"), (-5, "negative"), (True, "not a duration"),
        ("P1M", "years or months"), ("P1Y2D", "years or months"), ("P", "ISO 8601"), ("PT", "ISO 8601"),
        ("P1DT", "ISO 8601"), (float("nan"), "not a duration"), (float("inf"), "not a duration"),
        ("0.5ms", "whole number of milliseconds"), ("99999999999d", "longer than"), ("٣s", "not a duration"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(text: str | float, part_of_the_sentence: str) -> None:
    with pytest.raises(ValueError, match=part_of_the_sentence):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [(75_000, "75 s"), (2_500, "2.5 s"), (0, "0 s"), (5_400_000, "1 h 30 min"), (DAY_MS, "1 d"), (120_000, "2 min")],
)
def test_durations_in_sentences(duration_ms: int, words: str) -> None:
    assert describe_duration(duration_ms) == words
