"""Text of an HTTP response that was not as expected, for people. Pure."""

import codecs
from collections.abc import Callable, Iterable

BODY_BYTES = 4 * 1024
_LONGEST_HEAD = 16 * 1024


def status_and_head(version: str, status: int, reason: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Status line and headers, a line each."""
    first = f"{version} {status} {reason}".rstrip()
    lines = (f"{_decoded(name, 'utf-8')}: {_decoded(value, 'utf-8')}" for name, value in headers)
    return "\n".join([first, *lines])


def captured(head: str, body: bytes, charset: str | None, hide: Callable[[str], str]) -> str:
    """``head`` and the first 4 KiB of ``body``: unprintable characters are escaped, secrets are hidden by ``hide``."""
    text = _decoded(body[:BODY_BYTES], charset or "utf-8", breaks_off=len(body) > BODY_BYTES)
    # hidden before anything is escaped or cut, which would change a secret so that it is not found
    return f"{_printable(hide(head))[:_LONGEST_HEAD]}\n\n{_printable(hide(text))}".rstrip("\n")


def _decoded(data: bytes, charset: str, *, breaks_off: bool = False) -> str:
    try:
        # incremental, so that a character cut in two is left out
        return codecs.getincrementaldecoder(charset)("backslashreplace").decode(data, final=not breaks_off)
    except (LookupError, ValueError, TypeError):  # a name that the server made up, or a codec that is not of text
        return data.decode(errors="backslashreplace")


def _printable(text: str) -> str:
    lines = text.replace("\r\n", "\n")
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(one) for one in lines)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
