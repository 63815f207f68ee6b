"""An HTTP answer as it comes in: the status line, the head, and as much of the body as is wanted."""

from dataclasses import dataclass, field
from email.message import Message
from functools import lru_cache

import yarl

from everwatch.network.content_coding import Decoder, WrongCoding

_LONGEST_CONTENT_TYPE = 256
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass
class HttpResponse:
    """A response: the status line's parts, the head, and at most ``body_limit`` bytes of the decoded body.

    ``url`` is that of the answer, after redirects; ``certificate`` its certificate (DER), where the request wants it.
    ``head_ms``: how long the head took, counted from the beginning of the check, 0 before it is there. ``is_over``: all
    of it came. ``wrong_coding``: why the body cannot be decoded, "" if it can.
    """

    url: yarl.URL
    body_limit: int = 0
    version: str = ""
    status: int = 0
    phrase: str = ""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    certificate: bytes = b""
    redirected: bool = False
    head_ms: float = 0.0
    is_over: bool = False
    wrong_coding: str = ""
    _decoder: Decoder | None = None

    def take_line(self, line: bytes) -> None:
        """Take in a line of the head."""
        if line.startswith(b"HTTP/"):
            # an answer may have been announced by another (100 Continue, 103 Early Hints)
            version, status, phrase = (*line.decode("latin-1").strip().split(" ", 2), "", "")[:3]
            self.version, self.phrase, self.headers = version, phrase, []
            self.status = int(status) if status.isdigit() else 0
            return
        name, colon, value = line.partition(b":")
        if colon:
            self.headers.append((name, value.strip()))

    def take_body(self, data: bytes) -> None:
        """Take in a part of the body, up to the limit."""
        if self.wrong_coding:
            return
        try:
            if self._decoder is None:
                codings = (value for name, value in self.headers if name.lower() == b"content-encoding")
                self._decoder = Decoder(b",".join(codings).decode("latin-1"))
            for piece in self._decoder.pieces(data):
                self.body += piece[: self.body_limit - len(self.body)]
                if self.is_full:
                    return
        except WrongCoding as error:
            self.wrong_coding = str(error)

    def end_body(self) -> None:
        """Note that no more of the body comes."""
        try:
            if self._decoder is not None and not self.wrong_coding and not self.is_full:
                self._decoder.check_end()
        except WrongCoding as error:
            self.wrong_coding = str(error)

    @property
    def is_full(self) -> bool:
        """Tell whether there is as much of the body as is wanted."""
        return len(self.body) >= self.body_limit

    @property
    def is_whole(self) -> bool:
        """Tell whether there is no more of the body to judge: it ended, or as much as may be kept is here."""
        return self.is_over or self.is_full

    @property
    def redirects(self) -> bool:
        """Tell whether it sends the client elsewhere."""
        return self.status in _REDIRECTS and bool(self.location)

    def header(self, name: bytes) -> str | None:
        """The value of a header (``name`` in lower case), None if there is none."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), None)

    @property
    def location(self) -> str:
        """Return where it redirects to, "" if nowhere; bytes beyond ASCII are UTF-8, as browsers read them."""
        return (self.header(b"location") or "").encode("latin-1").decode(errors="replace")

    @property
    def charset(self) -> str | None:
        """The charset that the header names."""
        return _charset_of((self.header(b"content-type") or "")[:_LONGEST_CONTENT_TYPE])


@lru_cache(maxsize=1_000)
def _charset_of(content_type: str) -> str | None:
    kind = Message()
    kind["Content-Type"] = content_type
    return kind.get_content_charset()
