"""The files of the console, read once, as they are sent.

A path is looked up among the files that were read, so none leads anywhere else in the file system. Browsers load them
below ``@VERSION/``, which names the content of all: there they never change, so a browser asks for each of them once. A
page names the modules of its view too, so that they are not found one after the other.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

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
# statements begin a line in modules of the console, and stand anywhere in minified ones
_IMPORT = re.compile(r"""(?:^|[;}])(?:import|export)\b[^"'`;=(]*?["'](\.[^"']+)["']""", re.MULTILINE)
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


def _pages_of(files: Mapping[str, ConsoleFile], below: str) -> dict[str, ConsoleFile]:
    """Return the page for each module in ``pages``, and at "" that of all other views."""
    index = files[INDEX].content
    asked = {name.decode() for name in re.findall(rb'src="/console/([^"]+\.js)"', index)}
    shell = set[str]()
    for name in asked:
        _imported(files, name, shell)
    needed = {"": shell} | {
        name.removeprefix("pages/").removesuffix(".js"): _imported(files, name, set(shell))
        for name in files
        if name.startswith("pages/") and name.endswith(".js")
    }
    return {page: _page(index, sorted(modules - asked), below) for page, modules in needed.items()}


def _imported(files: Mapping[str, ConsoleFile], name: str, known: set[str]) -> set[str]:
    """Add a module, and all that it imports at its beginning, to those that are known."""
    if name in files and name not in known:
        known.add(name)
        for other in _IMPORT.findall(files[name].content.decode()):
            _imported(files, _joined(PurePosixPath(name).parent, other), known)
    return known


def _joined(folder: PurePosixPath, relative: str) -> str:
    parts = list(folder.parts)
    for part in relative.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _page(index: bytes, more: list[str], below: str) -> ConsoleFile:
    """Return the page that names these modules besides, with the addresses of files that last."""
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
