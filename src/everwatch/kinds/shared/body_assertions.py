"""Assertions on a response body: texts, patterns and values of a JSON document. Pure, and bounded in cost.

Patterns are RE2's: their time is linear in the text, whatever the pattern, and other threads run meanwhile. Python's
``re`` can take years for a pattern of ten characters, holds every thread up, and cannot be stopped.

Paths into JSON are the singular queries of JSONPath (RFC 9535, 2.3.5.1): names and indexes, one value or none. The
rest of JSONPath, in libraries or not, gives lists of values by wildcards, slices and filters: "equals" would have no
meaning there, and the cost no bound.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import orjson
import re2  # type: ignore[import-untyped]

from everwatch.network.error_texts import quoted

# so that the slowest pattern takes about a second on the longest text (10 ns for each instruction and byte)
PATTERN_TEXT_BYTES = 256 * 1024
MOST_INSTRUCTIONS = 500
# what a pattern may take for its automaton; without it, searching is slower
_PATTERN_MEMORY_BYTES = 1024 * 1024
MOST_STEPS = 32

_SHOWN = 80

Scalar = (
    Annotated[str, msgspec.Meta(max_length=4096)]
    | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    | float
    | bool
    | None
)

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_\u0080-\uffff\U00010000-\U0010ffff][\w\u0080-\uffff\U00010000-\U0010ffff]*)
    | \[ \s* (?: (?P<index>0|-?[1-9][0-9]{0,15})
               | "(?P<double>(?:[^"\\]|\\.)*)"
               | '(?P<single>(?:[^'\\]|\\.)*)' ) \s* \]""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
# their decoders take time that grows with the square of the text
_SLOW_CHARSETS = {"idna", "punycode"}


def encoded(text: str, charset: str | None) -> bytes:
    """``text`` as a body in ``charset`` has it; in UTF-8 if that is None, unknown or has no such characters."""
    try:
        return text.encode(_known(charset))
    except UnicodeError:
        return text.encode()


def check_pattern(pattern: str) -> None:
    """Raise ValueError with one sentence unless ``pattern`` is one of RE2's and not too costly."""
    try:
        compiled = _compiled(pattern)
    except re2.error as error:
        said = error.args[0] if error.args else error
        reason = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(f"not a pattern that RE2 knows: {quoted(reason)}") from None
    size = max(compiled.programsize, compiled.reverseprogramsize)
    if size > MOST_INSTRUCTIONS:
        raise ValueError(f"the pattern is too costly: it compiles to {size} steps, at most {MOST_INSTRUCTIONS} are run")


def matches(pattern: str, body: bytes, charset: str | None) -> bool:
    """Tell whether ``pattern`` matches anywhere in the first ``PATTERN_TEXT_BYTES`` of ``body``.

    May take a second, but lets other threads run: not for an event loop's own thread.
    """
    text = body[:PATTERN_TEXT_BYTES]
    known = _known(charset)
    if known != "utf-8":
        text = text.decode(known, errors="replace").encode(errors="replace")[:PATTERN_TEXT_BYTES]
    return _compiled(pattern).search(text) is not None


@lru_cache(maxsize=1024)
def parse_path(text: str) -> tuple[str | int, ...]:
    """The names and indexes of a path such as ``$.items[0].name`` or ``$['odd name']``.

    Raises ValueError with one sentence.
    """
    if not text.startswith("$"):
        raise ValueError(f"the path {quoted(text, _SHOWN)} does not begin with $")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(
                f"the path {quoted(text, _SHOWN)} cannot be read from {quoted(text[at:], 20)} on;"
                " write $.name, $.items[0] or $['another name']"
            )
        at = match.end()
        steps.append(_step(match, text))
    if len(steps) > MOST_STEPS:
        raise ValueError(f"the path {quoted(text, _SHOWN)} has {len(steps)} steps, at most {MOST_STEPS} are taken")
    return tuple(steps)


def explain_json(expected: Mapping[str, Scalar], body: bytes, charset: str | None, hide: Callable[[str], str]) -> str:
    """One sentence: which path in ``body`` (in ``charset``) has not the value expected; "" if all have.

    ``hide`` is asked for each text of the body that the sentence would quote.
    """
    known = _known(charset)
    try:
        # JSON is UTF-8 (RFC 8259, 8.1), but servers that say otherwise mean it
        text = body if known == "utf-8" else body.decode(known).removeprefix("\ufeff").encode()
        document = orjson.loads(text.removeprefix(codecs.BOM_UTF8))
    except UnicodeError:
        return f"the body is not text in its charset {quoted(charset or known, 40)}"
    except orjson.JSONDecodeError as error:
        return f"the body is not JSON: {error.msg}"
    for path, value in expected.items():
        try:
            found = _value_at(document, parse_path(path))
        except LookupError:
            return f"the JSON of the body has no {quoted(path, _SHOWN)}"
        if not _equal(found, value):
            return f"{path} is {_shown(found, hide)}, expected {_shown(value, str)}"
    return ""


def _step(match: re.Match[str], path: str) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    if match["name"] is not None:
        return match["name"]
    # in single quotes an apostrophe is escaped and a quotation mark is not; all else is as in JSON
    single = match["single"]
    inner = match["double"] if single is None else re.sub(r"\\.|\"", _requoted, single, flags=re.DOTALL)
    try:
        name: str = orjson.loads(f'"{inner}"')
    except orjson.JSONDecodeError:
        raise ValueError(f"the path {quoted(path, _SHOWN)} has a name that is not text as in JSON") from None
    return name


def _requoted(match: re.Match[str]) -> str:
    return {'"': '\\"', "\\'": "'"}.get(match[0], match[0])


def _value_at(document: object, steps: tuple[str | int, ...]) -> object:
    value: Any = document
    for step in steps:
        # a text may be indexed in Python, and an object have a name of digits: neither is meant
        has_such_steps = isinstance(value, dict if isinstance(step, str) else list)
        if not has_such_steps:
            raise LookupError(step)
        value = value[step]
    return value


def _equal(found: object, expected: Scalar) -> bool:
    # to Python true is 1; to JSON it is not, but 1 is 1.0
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    return found == expected


def _shown(value: object, hide: Callable[[str], str]) -> str:
    match value:
        case str():
            return quoted(hide(value), _SHOWN)
        case dict():
            return "an object"
        case list():
            return "a list"
    return orjson.dumps(value).decode()


def _compiled(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY_BYTES
    options.never_capture = True
    options.log_errors = False
    # in bytes, because for text re2 would count characters to say where it matched
    return re2.compile(pattern.encode(), options)


@lru_cache(maxsize=64)
def _known(charset: str | None) -> str:
    try:
        name = codecs.lookup(charset or "utf-8").name
        "".encode(name)
    except (LookupError, ValueError):  # e.g. with a NUL, or no charset for text, such as zlib
        return "utf-8"
    return "utf-8" if name in _SLOW_CHARSETS else name
