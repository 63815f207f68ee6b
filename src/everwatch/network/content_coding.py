"""Content codings of HTTP bodies (RFC 9110, 8.4.1), undone piece by piece and no further than is wanted."""

import zlib
from collections.abc import Iterator, Sequence

_STEP_BYTES = 64 * 1024
_MOST_CODINGS = 4
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 31, 15, -15


class WrongCoding(Exception):
    """A body is not coded as its head says; ``str()`` is one sentence."""

    def __init__(self) -> None:
        super().__init__("the body is not encoded as its Content-Encoding says")


class Decoder:
    """Undoes the codings that ``content_encoding`` (the header's value) lists; what it does not know stays as it is.

    So it is with ``UTF-8`` and ``aws-chunked``, which servers write there and which code nothing, and with codings that
    no request asked for. Raises WrongCoding.
    """

    def __init__(self, content_encoding: str) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        # the last one was applied last
        self._stages = [_Stage(gzip=name != "deflate") for name in reversed(names) if name in _KNOWN]
        if len(self._stages) > _MOST_CODINGS:
            raise WrongCoding

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Return what ``data``, the next part of the body, decodes to; at most 64 KiB at a time."""
        return _through(self._stages, data)

    def check_end(self) -> None:
        """Raise WrongCoding if the body breaks off in the middle of a coding."""
        if any(stage.is_within for stage in self._stages):
            raise WrongCoding


_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})


def _through(stages: "Sequence[_Stage]", data: bytes) -> Iterator[bytes]:
    if not stages:
        yield data
        return
    for piece in stages[0].pieces(data):
        yield from _through(stages[1:], piece)


class _Stage:
    """One coding. gzip may have several members (RFC 1952, 2.2), and zeros or other padding behind the last one.

    deflate is zlib's format or, against the RFC and as browsers take it, what is within that.
    """

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflate: zlib._Decompress | None = None
        self._pending = b""
        self._members = 0
        self._is_padding = False

    @property
    def is_within(self) -> bool:
        return self._inflate is not None or (self._members == 0 and bool(self._pending))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        data = self._pending + data
        self._pending = b""
        while not self._is_padding and (data or self._inflate is not None):
            if self._inflate is None:
                if len(data) < len(_GZIP_MAGIC):
                    self._pending = data
                    return
                self._begin(data)
                continue
            try:
                piece = self._inflate.decompress(data, _STEP_BYTES)
            except zlib.error:
                raise WrongCoding from None
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = None
                self._members += 1
            if piece:
                yield piece
            if self._inflate is not None and not data and len(piece) < _STEP_BYTES:
                return

    def _begin(self, data: bytes) -> None:
        if self._members and not (self._gzip and data.startswith(_GZIP_MAGIC)):
            self._is_padding = True
        elif self._gzip:
            self._inflate = zlib.decompressobj(_GZIP)
        else:
            # RFC 1950, 2.2: compression method 8, and a check that 31 divides
            has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._inflate = zlib.decompressobj(_ZLIB if has_header else _RAW)
