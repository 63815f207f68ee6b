"""The files by which this machine names hosts: /etc/hosts (hosts(5)) and the search list of resolv.conf(5).

c-ares merges entries of /etc/hosts that share an address: a name would get addresses that only another one has. glibc
reads entry by entry, and so does this.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from everwatch.network.host_names import address_in, to_ascii

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
# resolv.conf(5)
_MOST_DOTS = 15

_Stamp = tuple[int, int, int]


class _WatchedFile:
    """A text file that is read again when it has changed; without it there is no text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: _Stamp | None = None

    def changed_text(self) -> str | None:
        """The text if it is another one than last time, else None."""
        try:
            now = os.stat(self._path)
            stamp = (now.st_mtime_ns, now.st_size, now.st_ino)
            if stamp == self._stamp:
                return None
            text = self._path.read_text(errors="replace")
        except OSError:
            stamp, text = (0, 0, 0), ""
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        return text


class HostsFile:
    """Addresses by name, from a file as hosts(5) describes it; changes are seen at the next lookup."""

    def __init__(self, path: Path = HOSTS) -> None:
        self._file = _WatchedFile(path)
        self._addresses: dict[str, list[str]] = {}

    def addresses(self, name: str) -> list[str]:
        """The addresses of ``name`` (in ASCII) in the order of the file; none if it does not name it."""
        if (text := self._file.changed_text()) is not None:
            self._addresses = _read_hosts(text)
        return self._addresses.get(name.lower().rstrip("."), [])


@dataclass
class SearchList:
    """Domains that are put behind short names: ``search`` and ``ndots`` of a file as resolv.conf(5) describes it."""

    path: Path = RESOLV_CONF
    domains: list[str] = field(default_factory=list)
    dots: int = 1

    def __post_init__(self) -> None:
        self._file = _WatchedFile(self.path)

    def candidates(self, name: str) -> list[str]:
        """The names to ask for in place of ``name``, in order."""
        if (text := self._file.changed_text()) is not None:
            self.domains, self.dots = _read_resolv_conf(text)
        if name.endswith("."):
            return [name.rstrip(".")]
        longer = [f"{name}.{domain}" for domain in self.domains]
        return [name, *longer] if name.count(".") >= self.dots else [*longer, name]


def _read_hosts(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if not names or address_in(address) is None:
            continue
        for name in names:
            try:
                addresses = found.setdefault(to_ascii(name).lower().rstrip("."), [])
            except ValueError:
                continue
            if address not in addresses:
                addresses.append(address)
    return found


def _read_resolv_conf(text: str) -> tuple[list[str], int]:
    domains: list[str] = []
    dots = 1
    for line in text.splitlines():
        word, *rest = line.partition("#")[0].partition(";")[0].split() or [""]
        if word in ("search", "domain"):  # the last one counts
            domains = [domain.strip(".") for domain in rest if domain.strip(".")]
        elif word == "options":
            for option in rest:
                number = option.removeprefix("ndots:")
                if number != option and number.isdecimal():
                    dots = min(int(number), _MOST_DOTS)
    return domains, dots
