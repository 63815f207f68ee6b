"""Tests of what bodies are judged by: texts, patterns, JSON; pure, and bounded in time."""

import random
import threading
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everwatch.kinds.shared.body_assertions import (
    MOST_STEPS,
    PATTERN_TEXT_BYTES,
    check_pattern,
    encoded,
    explain_json,
    matches,
    parse_path,
)

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def leaves(value: object, path: str = "$", quote: str = '"'):
    """Each scalar in ``value`` with its path, written out without the code under test."""
    if isinstance(value, dict):
        for name, inner in value.items():
            text = orjson.dumps(name).decode()
            if quote == "'":
                text = "'" + text[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
            yield from leaves(inner, f"{path}[{text}]", quote)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]", quote)
            yield from leaves(inner, f"{path}[{index - len(value)}]", quote)
    else:
        yield path, value


def as_it_is(text: str) -> str:
    return text


@given(JSON, st.sampled_from("\"'"))
def test_every_value_of_a_document_is_found_at_its_path(document: object, quote: str) -> None:
    body = orjson.dumps(document)
    for path, value in leaves(document, quote=quote):
        assert explain_json({path: value}, body, None, as_it_is) == ""  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("$", ()), ("$.status", ("status",)), ("$.a.b_1.größe", ("a", "b_1", "größe")), ("$[0][-1]", (0, -1)),
        ("$.items[12].name", ("items", 12, "name")), ("$['odd name']", ("odd name",)), ('$["a.b"]', ("a.b",)),
        (r"$['it\'s \"so\" \u00e4 \\']", ("it's \"so\" ä \\",)), ("$[ 'a' ]", ("a",)), ('$["\']"]', ("']",)),
    ],
)  # fmt: skip
def test_paths_are_read_as_rfc_9535_writes_them(path: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(path) == steps


@pytest.mark.parametrize(
    "path",
    ["", "status", ".a", "$a", "$.", "$..a", "$.*", "$[*]", "$[1:2]", "$[?(@.a)]", "$['a'", "$['a]", "$[01]", "$[-0]",
     "$.a-b", "$.0", "$[a]", "$['a','b']", r"$['\x']", r"$['\ud800']", "$['a\nb']", "$.a ",
     "$" + "[0]" * (MOST_STEPS + 1)],
)  # fmt: skip
def test_what_is_no_path_to_one_value_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"^the path '"):
        parse_path(path)


@pytest.mark.parametrize(
    ("body", "expected", "reason"),
    [
        (b'{"status": "down"}', {"$.status": "ok"}, "$.status is 'down', expected 'ok'"),
        (b'{"n": "5"}', {"$.n": 5}, "$.n is '5', expected 5"),
        (b'{"n": 1}', {"$.n": True}, "$.n is 1, expected true"),
        (b'{"n": true}', {"$.n": 1}, "$.n is true, expected 1"),
        (b'{"n": 1.0}', {"$.n": 1}, ""),
        (b'{"n": null}', {"$.n": None}, ""),
        (b'{"n": 0}', {"$.n": None}, "$.n is 0, expected null"),
        (b'{"n": {}}', {"$.n": "x"}, "$.n is an object, expected 'x'"),
        (b'{"n": [1]}', {"$.n": 1}, "$.n is a list, expected 1"),
        (b'{"n": [1]}', {"$.n[1]": 1}, "the JSON of the body has no '$.n[1]'"),
        (b'{"n": [1]}', {"$.n[-2]": 1}, "the JSON of the body has no '$.n[-2]'"),
        (b'{"n": "abc"}', {"$.n[0]": "a"}, "the JSON of the body has no '$.n[0]'"),
        (b'{"0": 1}', {"$[0]": 1}, "the JSON of the body has no '$[0]'"),
        (b"[1]", {"$['0']": 1}, "the JSON of the body has no '$['0']'"),
        (b'{"a": 1}', {"$.a": 1, "$.b": 2}, "the JSON of the body has no '$.b'"),
        (b'\xef\xbb\xbf"x"', {"$": "x"}, ""),
        (b"<html>", {"$.a": 1}, "the body is not JSON: unexpected character"),
        (b'"\xff"', {"$": "x"}, "the body is not JSON: "),
        (b"", {"$": "x"}, "the body is not JSON: "),
        (b"9" * 10_000, {"$": 1}, "the body is not JSON: "),
        (b"[" * 1_000_000, {"$": 1}, "the body is not JSON: depth limit"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_is_there_instead(body: bytes, expected: dict[str, object], reason: str) -> None:
    said = explain_json(expected, body, None, as_it_is)  # type: ignore[arg-type]
    assert said.startswith(reason) if reason else said == ""
    assert len(said) < 200


def test_what_is_to_be_hidden_is_hidden_before_it_is_cut() -> None:
    body = orjson.dumps({"echo": "x" * 70 + "secret-token"})
    said = explain_json({"$.echo": "y"}, body, None, lambda text: text.replace("secret-token", "…"))
    assert "secret" not in said


@given(
    st.text(max_size=20), st.text(max_size=40), st.sampled_from([None, "utf-8", "utf-16-le", "no-such", "zlib", "idna"])
)
def test_a_text_is_found_where_it_is(needle: str, around: str, charset: str | None) -> None:
    encoding = charset if charset in ("utf-8", "utf-16-le") else "utf-8"
    assert encoded(needle, charset) in (around + needle + around).encode(encoding)


def test_a_charset_that_is_none_does_not_keep_a_text_from_being_found() -> None:
    for charset in ("a\x00b", "punycode", "hex", "", "ascii", "undefined"):
        assert encoded("größe", charset) == "größe".encode()
        assert matches("gr.ße", "größe".encode(), charset if charset != "ascii" else None)


@pytest.mark.parametrize(
    ("pattern", "body", "charset", "found"),
    [
        (r"v\d+\.\d+", b"version v1.25 is up", None, True), (r"^up$", b"all\nup\n", None, False),
        (r"(?m)^up$", b"all\nup\n", None, True), (r"(?i)OK", b"ok", None, True), (r"a.c", b"a\nc", None, False),
        (r"(?s)a.c", b"a\nc", None, True), (r"^gr.ße$", "größe".encode("latin-1"), "latin-1", True),
        (r"^gr.ße$", "größe".encode(), None, True), (r"b$", b"a" + b"\xff" + b"b", "utf-8", True),
    ],
)  # fmt: skip
def test_a_pattern_matches_anywhere_in_the_text(pattern: str, body: bytes, charset: str | None, found: bool) -> None:
    check_pattern(pattern)
    assert matches(pattern, body, charset) is found


def test_a_pattern_looks_at_the_beginning_of_a_long_body_only() -> None:
    assert matches("b", b"a" * (PATTERN_TEXT_BYTES - 1) + b"b", None)
    assert not matches("b", b"a" * PATTERN_TEXT_BYTES + b"b", None)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing )"), ("(?=a)", "invalid perl operator: (?="), (r"(a)\1", "invalid escape sequence"),
        ("a{2000}", "invalid repetition size"), (r"\w{1000}", "too costly"),
        ("(?:(?:a{50}){50}){50}", ""), (r"(?:\pL{1,100}\d){1,10}", ""),
    ],
)  # fmt: skip
def test_a_pattern_that_is_wrong_or_costly_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_pattern(pattern)
    assert reason in str(caught.value)


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(a|aa)+$b", "(a|b)*a[ab]{200}c", "(?:a?){150}a{150}z", "(.*)(.*)z"])
def test_a_pattern_that_others_choke_on_takes_a_moment_and_lets_other_threads_run(pattern: str) -> None:
    check_pattern(pattern)
    mixed = random.Random(1).choices(b"ab", k=PATTERN_TEXT_BYTES)
    bodies = [bytes(mixed), b"x" * PATTERN_TEXT_BYTES, b"a" * PATTERN_TEXT_BYTES]
    ended = threading.Event()
    found: list[bool] = []

    def search() -> None:
        found.append(any(matches(pattern, text, None) for text in bodies))
        ended.set()

    began_s = time.monotonic()
    thread = threading.Thread(target=search)
    thread.start()
    longest_s = 0.0
    while not ended.is_set():
        before_s = time.monotonic()
        ended.wait(0.001)
        longest_s = max(longest_s, time.monotonic() - before_s)
    thread.join()
    assert found == [False]
    # generous, for machines that do other things, too: a backtracking engine takes years
    assert time.monotonic() - began_s < 30
    assert longest_s < 2
