"""The files of the console, read once, as they are sent.

A path is looked up among the files that were read, so none leads anywhere else in the file system. Browsers load them
below ``@VERSION/``, which names the content of all: there they never change, so a browser asks for each of them once.
Modules and styles come as bundles (``bundling``); a page names that of its view, so that it is not found only when the
first one runs.
"""

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from everwatch.console.bundling import START, Bundles

STATIC = Path(__file__).with_name("static")
INDEX = "index.html"
CONTENT_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""By suffix; a file with another one is not served. Tables of the operating system differ."""
_PACKED_ALREADY = frozenset({".png", ".woff2"})
_LEAST_PACKED = 512
_VERSIONED = "@"
_ADDRESS = re.compile(rb'((?:href|src)="/console/)')
_BUNDLES = "bundles/"
_STYLES = "all.css"
_STYLES_IN_ORDER = ("css/tokens.css", "css/base.css", "css/components.css", "css/pages.css")
_PARTS_OF = {2: {"users": "user", "incidents": "incident"}, 4: {"users": "monitor"}}
"""Pages whose address has several parts, by their number and the first of them; any other is named as its address."""


class ConsoleFile(NamedTuple):
    """A file: its content, the same by gzip (None where that gains nothing), and what names this content.

    ``lasts``: its address names its content too.
    """

    content: bytes
    packed: bytes | None
    content_type: str
    digest: str
    lasts: bool = False


class ConsoleFiles:
    """The files below a folder. Folders, hidden files and links are none."""

    def __init__(self, folder: Path = STATIC) -> None:
        files = {path.relative_to(folder).as_posix(): _read(path) for path in sorted(_served(folder))}
        digests = "\n".join(f"{name} {each.digest}" for name, each in files.items())
        self._below = f"{_VERSIONED}{_digest(digests.encode())}/"
        files |= _bundles_of(files)
        self._pages = _pages_of(files, self._below) if INDEX in files else {}
        lasting = {self._below + name: each._replace(lasts=True) for name, each in files.items() if name != INDEX}
        self._files = {**files, **lasting, **({INDEX: self._pages[""]} if self._pages else {})}

    def find(self, path: str) -> ConsoleFile | None:
        """Return the file at a path, else the page of a view. None where there is no console, and no such file.

        A file of another version is this one's: while processes are replaced, a page comes from one and its files
        from another.
        """
        if found := self._files.get(path):
            return found
        if path.startswith(_VERSIONED):
            return self._files.get(path.partition("/")[2])
        return self._pages.get(page_of(path)) or self._pages.get("")


def page_of(view: str) -> str:
    """Return the name of the module in ``pages`` that shows a view, as far as its address says it."""
    parts = view.strip("/").split("/")
    named = _PARTS_OF.get(len(parts), {}).get(parts[0])
    return named or parts[0] or "overview"


def _bundles_of(files: Mapping[str, ConsoleFile]) -> dict[str, ConsoleFile]:
    """Return the bundles of the console's modules and of its styles; none where it has no modules."""
    if START not in files:
        return {}
    texts = {name: each.content.decode() for name, each in files.items() if name.endswith(".js")}
    bundles = Bundles(texts)
    made = {f"{_BUNDLES}{name}": _as_sent(bundles.text(name).encode(), ".js") for name in bundles.names}
    styles = b"".join(files[name].content for name in _STYLES_IN_ORDER)
    return {**made, f"{_BUNDLES}{_STYLES}": _as_sent(styles, ".css")}


def _pages_of(files: Mapping[str, ConsoleFile], below: str) -> dict[str, ConsoleFile]:
    """Return the page for each module in ``pages``, and at "" that of all other views."""
    index = files[INDEX].content
    begin = f"{_BUNDLES}pages/"
    views = [name.removeprefix(begin).removesuffix(".js") for name in files if name.startswith(begin)]
    return {"": _page(index, (), below)} | {view: _page(index, (f"{begin}{view}.js",), below) for view in views}


def _page(index: bytes, more: Iterable[str], below: str) -> ConsoleFile:
    """Return the page that names these bundles besides, with the addresses of files that last."""
    links = "".join(f'  <link rel="modulepreload" href="/console/{name}">\n  ' for name in more)
    content = _ADDRESS.sub(rb"\1" + below.encode(), index.replace(b"</head>", links.encode() + b"</head>", 1))
    return _as_sent(content, ".html")


def _served(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        is_plain = not any(part.startswith((".", _VERSIONED)) for part in inner.parts) and not path.is_symlink()
        if is_plain and path.suffix in CONTENT_TYPES and path.is_file():
            yield path


def _read(path: Path) -> ConsoleFile:
    return _as_sent(path.read_bytes(), path.suffix)


def _as_sent(content: bytes, suffix: str) -> ConsoleFile:
    packed = None
    if suffix not in _PACKED_ALREADY and len(content) >= _LEAST_PACKED:
        packed = gzip.compress(content, mtime=0)
    return ConsoleFile(content, packed, CONTENT_TYPES[suffix], _digest(content))


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()
