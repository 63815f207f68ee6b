"""``status.toml`` -> operators' status pages, followed while the API runs. A file that is wrong replaces nothing."""

import logging
import tomllib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.notifier.page_access import PageAccess
from everwatch.notifier.silences import Selector
from everwatch.plans.plans_parser import Stamp, read_file

logger = logging.getLogger(__name__)
MOST_PAGES = 200
LARGEST_LOGO_BYTES = 100_000
_LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
_SECOND_MS = 1_000
Slug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
Domain = Annotated[str, Meta(max_length=253, pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,}\Z")]
Line = Annotated[str, Meta(min_length=1, max_length=200, pattern=NO_HIDDEN)]
Text = Annotated[str, Meta(max_length=2_000)]
Link = Annotated[str, Meta(max_length=500, pattern=r"^https?://[^\s\"<>]+\Z")]
When = Annotated[datetime, Meta(tz=True)]


class Announcement(NamedTuple):
    """Maintenance that operators announce: its title, instants in ms, and a text."""

    title: str
    begin: int
    end: int
    text: str


class Notice(NamedTuple):
    """Something that operators say: a title, when (ms), and a text."""

    title: str
    at: int
    text: str


class OperatorPage(NamedTuple):
    """A status page of operators. ``logo``: a data URI, "" for none; ``url``: where the logo leads.

    ``domain``: the host at which it is the only page; "" for none. ``subscribe``: visitors may ask for mail.
    ``access``: who may read it.
    """

    slug: str
    title: str
    match: Selector
    domain: str = ""
    logo: str = ""
    url: str = ""
    about: str = ""
    maintenance: Sequence[Announcement] = ()
    notices: Sequence[Notice] = ()
    subscribe: bool = False
    access: PageAccess = PageAccess.PUBLIC


class _MaintenanceInput(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"begin": "from", "end": "to"}
):
    title: Line
    begin: When
    end: When
    text: Text = ""


class _NoticeInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: Line
    at: When
    text: Text = ""


class _PageInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    slug: Slug
    title: Line
    match: Selector
    domain: Domain = ""
    logo: str = ""
    url: Link = ""
    about: Text = ""
    maintenance: Annotated[list[_MaintenanceInput], Meta(max_length=50)] = []
    notices: Annotated[list[_NoticeInput], Meta(max_length=50)] = []
    subscribe: bool = False
    access: PageAccess = PageAccess.PUBLIC


class _StatusFileInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pages: Annotated[list[_PageInput], Meta(max_length=MOST_PAGES)] = []


class WrongPages(EverwatchError):
    """A file of status pages is wrong."""

    exit_code = 2


class StatusPagesFile:
    """``current``: the pages of the last state of the file that was right, by slug; none without a file.

    Raises SettingsError if the file is wrong to begin with.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: Stamp | None = None
        self.current: Mapping[str, OperatorPage] = {}
        if path is not None:
            data, self._seen = read_file(path)
            try:
                self.current = pages_of(data, path)
            except WrongPages as error:
                raise SettingsError(f"The setting EVERWATCH_STATUS_FILE names wrong status pages: {error}.") from None

    def at(self, host: str) -> OperatorPage | None:
        """Return the page whose domain a Host header names."""
        name = host.partition(":")[0].rstrip(".").lower()
        return next((page for page in self.current.values() if page.domain and page.domain == name), None)

    def look(self) -> None:
        """Take the file as it is now, if it has changed. A fault in it is logged once. For a thread."""
        if self._path is None:
            return
        try:
            stamp: Stamp | None = Stamp.of(self._path.stat())
        except OSError:
            stamp = None
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            data, self._seen = read_file(self._path)
            self.current = pages_of(data, self._path)
        except EverwatchError as error:
            logger.error("the status pages stay as they were: %s", error)
        else:
            logger.info("status pages taken from %s: %s", self._path, ", ".join(self.current) or "none")


def pages_of(data: bytes, path: Path) -> dict[str, OperatorPage]:
    """Return the pages of a file, by slug. Raises WrongPages."""
    try:
        given = msgspec.convert(tomllib.loads(data.decode()), type=_StatusFileInput)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongPages(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        raise WrongPages(f"{path}: {str(error).replace('`', '')}") from None
    found: dict[str, OperatorPage] = {}
    domains: set[str] = set()
    for each in given.pages:
        place = f"{path}, page {each.slug}"
        if each.slug in found:
            raise WrongPages(f"{place}: there are two of this slug")
        if each.domain in domains:
            raise WrongPages(f"{place}: another page has the domain {each.domain}")
        domains |= {each.domain} - {""}
        if each.subscribe and not each.domain:
            raise WrongPages(f"{place}: subscribe takes a domain, which the links in mails lead to")
        if each.domain and each.access is not PageAccess.PUBLIC:
            raise WrongPages(f"{place}: a page at a domain of its own is public: leave out domain or access")
        if each.match.is_empty:
            raise WrongPages(f"{place}: match names at least one of user, plan, kind, target and label")
        if each.match.target.startswith("*."):
            raise WrongPages(f"{place}: a page takes a whole host as target, and no pattern")
        found[each.slug] = _page(each, path, place)
    return found


def _page(given: _PageInput, path: Path, place: str) -> OperatorPage:
    announced = []
    for each in given.maintenance:
        if each.end <= each.begin:
            raise WrongPages(f"{place}: maintenance {each.title!r} ends before it begins")
        announced.append(Announcement(each.title, _ms(each.begin), _ms(each.end), each.text))
    return OperatorPage(
        given.slug,
        given.title,
        given.match,
        given.domain,
        _logo(path.parent / given.logo, place) if given.logo else "",
        given.url,
        given.about,
        sorted(announced, key=lambda each: each.begin),
        sorted((Notice(each.title, _ms(each.at), each.text) for each in given.notices), key=lambda each: -each.at),
        given.subscribe,
        given.access,
    )


def _logo(file: Path, place: str) -> str:
    kind = _LOGO_TYPES.get(file.suffix.lower())
    if kind is None:
        raise WrongPages(f"{place}: a logo is one of {', '.join(_LOGO_TYPES)}, not {file.name}")
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_LOGO_BYTES + 1)
    except OSError as error:
        raise WrongPages(f"{place}: the logo {file} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_LOGO_BYTES:
        raise WrongPages(f"{place}: the logo {file} has more than {LARGEST_LOGO_BYTES} bytes")
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _ms(when: datetime) -> int:
    return int(when.timestamp() * _SECOND_MS)
