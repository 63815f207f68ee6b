"""The files of the console, read once, as they are sent.

What is asked for is looked up among the files that were read, so no path leads anywhere else in the file system.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
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


class ConsoleFile(NamedTuple):
    """A file: its content, the same by gzip (None where that gains nothing), and what names this content."""

    content: bytes
    packed: bytes | None
    content_type: str
    digest: str


class ConsoleFiles:
    """The files below a folder. Folders, hidden files and links are none."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._files = {path.relative_to(folder).as_posix(): _read(path) for path in sorted(_served(folder))}

    def find(self, path: str) -> ConsoleFile | None:
        """Return the file at a path, else the page that is for all paths; None where there is no console."""
        return self._files.get(path) or self._files.get(INDEX)


def _served(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        is_plain = not any(part.startswith(".") for part in inner.parts) and not path.is_symlink()
        if is_plain and path.suffix in CONTENT_TYPES and path.is_file():
            yield path


def _read(path: Path) -> ConsoleFile:
    content = path.read_bytes()
    packed = None
    if path.suffix not in _PACKED_ALREADY and len(content) >= _LEAST_PACKED:
        packed = gzip.compress(content, mtime=0)
    digest = hashlib.blake2b(content, digest_size=12).hexdigest()
    return ConsoleFile(content, packed, CONTENT_TYPES[path.suffix], digest)
