"""The manifest of a backup: the contents of its files, and the hashes that prove them. Pure.

It is JSON whose first member, ``seal``, is the SHA-256 of all its other bytes: a changed byte anywhere in it is found.
Fields are only ever added, with a default; ``FORMAT`` changes when an older Everwatch could not restore the backup.
"""

import hashlib
from enum import StrEnum

import msgspec

from everwatch.backup.damage import Damaged
from everwatch.kafka.topics import region_of

FORMAT = 1
MANIFEST = "manifest.json"
_HEAD = b'{\n  "seal": "'
_DIGITS = 64


class PartitionCopy(msgspec.Struct, frozen=True):
    """The records of one partition that a file holds.

    ``begin``, ``end``: the offsets of the source that were looked at, ``end`` not included. ``records``: how many are
    in the file. ``keys`` and ``hash``: of a compacted topic the number of keys that have a value and the sum over
    their latest (key, value); of any other topic the number of records and the sum over all of them.
    """

    partition: int
    file: str
    begin: int
    end: int
    records: int
    keys: int
    hash: str


class TopicCopy(msgspec.Struct, frozen=True):
    """One topic: its name without prefix (a field of ``Topics``), its configuration on the broker, its partitions."""

    name: str
    config: dict[str, str]
    partitions: list[PartitionCopy]


class Cut(msgspec.Struct, frozen=True):
    """The instant to which one partition is backed up.

    Ticks are emitted up to ``emitted_to`` (ms; 0: none was noted), and the changelog is copied up to the offset
    ``changelog_end``. ``exact``: the worker that owned the partition noted both in one record, at ``noted_at`` (ms).
    """

    partition: int
    emitted_to: int
    changelog_end: int
    exact: bool
    noted_at: int = 0


class ReaderOffsets(msgspec.Struct, frozen=True):
    """Next offsets of one reader in the source's topics; ``offsets`` by topic (without prefix) and partition.

    ``reader``: ``worker``, ``executor``: consumer groups; ``sink``, ``notifier``: tables of their databases.
    """

    reader: str
    offsets: dict[str, dict[int, int]]


class DatabaseKind(StrEnum):
    """Kind of a database."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class DatabaseCopy(msgspec.Struct, frozen=True):
    """A database: its file in the backup, its rows by table, and its results by day (UTC, ``2026-11-28``)."""

    kind: DatabaseKind
    file: str
    revision: str
    rows: dict[str, int]
    days: dict[str, int]


class FileCopy(msgspec.Struct, frozen=True):
    """A file of the backup."""

    size: int
    sha256: str


class UnreadableOffsets(msgspec.Struct, frozen=True):
    """Offsets of one partition, ``end`` not included, whose records no client can read, and why: they are left out.

    ``topic``: without prefix.
    """

    topic: str
    partition: int
    begin: int
    end: int
    reason: str


class Manifest(msgspec.Struct, frozen=True):
    """Contents of a backup. Instants in ms. ``settings``: those that are no secrets, for setting up a new installation.

    ``acls``: the rights on topics and groups, in Kafka's words, where the broker reports them; they are not restored.
    ``notifier_database``: the notifier's own, which it has beside SQLite; in PostgreSQL its tables are in ``database``.
    ``unreadable``: what the topics held and no file holds.
    """

    format: int
    everwatch: str
    began_at: int
    finished_at: int
    partitions: int
    topics: list[TopicCopy]
    cuts: list[Cut]
    offsets: list[ReaderOffsets]
    database: DatabaseCopy | None
    files: dict[str, FileCopy]
    settings: dict[str, str]
    acls: list[str] = []
    notifier_database: DatabaseCopy | None = None
    unreadable: list[UnreadableOffsets] = []

    @property
    def databases(self) -> list[DatabaseCopy]:
        """Return the copies of databases that it holds."""
        return [each for each in (self.database, self.notifier_database) if each is not None]

    @property
    def regions(self) -> tuple[str, ...]:
        """Return the regions that have topics of ticks in it, sorted."""
        return tuple(sorted({region_of(each.name) for each in self.topics} - {""}))

    def topic(self, name: str) -> TopicCopy:
        """Return one topic by its name without prefix."""
        return next(each for each in self.topics if each.name == name)

    @property
    def monitors_hash(self) -> str:
        """Return one hash over the latest entries of all partitions of the table of monitors."""
        parts = [each.hash for each in self.topic("monitors_changelog").partitions]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:32]


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of the file."""
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    rest = b'",' + body[1:] + b"\n"
    return _HEAD + _seal(rest) + rest


def decode_manifest(data: bytes) -> Manifest:
    """Check and decode the bytes of the file. Raises Damaged."""
    begin = len(_HEAD)
    seal, rest = data[begin : begin + _DIGITS], data[begin + _DIGITS :]
    if not data.startswith(_HEAD) or _seal(rest) != seal:
        raise Damaged(MANIFEST, "its bytes do not match its seal: it was changed, or is not a manifest")
    try:
        # a newer format may have other fields
        found = msgspec.json.decode(data, type=_Format).format
        if found > FORMAT:
            raise Damaged(MANIFEST, f"it has format {found}, and this version reads up to {FORMAT}: upgrade Everwatch")
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Damaged(MANIFEST, f"it is not a manifest of this version: {error}") from None


class _Format(msgspec.Struct):
    format: int


def _seal(rest: bytes) -> bytes:
    return hashlib.sha256(_HEAD + rest).hexdigest().encode()
