"""Judgement whether a table and its changelog belong together: pure, one partition at a time.

A table is a copy of its changelog. When the broker loses records that it has acknowledged (the topic is deleted and
made anew, the data folder is lost, an unclean election truncates it), the copy may be all that is left of users and
monitors, or it may be old. Three things are compared:

- the table's own mark: id of the topic, offset and digest of the last record that it holds;
- the changelog as it is: id of the topic, end, and digest of the record at the table's offset;
- the last owner's mark, which it writes to ``progress`` together with every instant: whose table it was, and how far.

A topic's id is new whenever the topic is created (KIP-516), so a topic that was made anew is found out whatever it
holds. A digest finds a tail that was cut off and has grown again.
"""

from enum import Enum
from typing import NamedTuple
from zlib import crc32

_SEPARATOR = " "
UNREADABLE_REMEDY = (
    "Start the worker that owned the partition last over its own folder (its table may be past that offset), or have"
    " the broker take the partition from another replica; the last resort is 'everwatch worker --rebuild-changelog',"
    " which reads past it and gives up what stood there. See docs/changelog-loss.md, A changelog that cannot be read."
)
"""What to do where the changelog has records that cannot be read."""


class Mark(NamedTuple):
    """Position of a table in its changelog: the topic's id ("" unknown), offset of the last record, its digest.

    ``digest`` is 0 if unknown. ``member`` is the owner's name in its group; a table's own mark has none.
    """

    topic_id: str
    offset: int
    digest: int = 0
    member: str = ""

    def encode(self) -> bytes:
        """The mark as it is stored beside the table, and in the header of a record of progress."""
        return _SEPARATOR.join((self.topic_id, str(self.offset), str(self.digest), self.member)).encode()


def decode_mark(data: bytes | None) -> Mark | None:
    """The mark of stored bytes; None where there is none, or one that this version cannot read."""
    try:
        topic_id, offset, digest, member = (data or b"").decode().split(_SEPARATOR)
        return Mark(topic_id, int(offset), int(digest), member)
    except ValueError:
        return None


class Held(NamedTuple):
    """The changelog of a partition as the broker has it.

    Offsets from ``start`` up to, but without, ``end``. ``digest`` is that of the record at the table's offset, 0 if it
    is not there any more, as after compaction.
    """

    topic_id: str
    start: int
    end: int
    digest: int = 0


class TableVerdict(Enum):
    """Verdict on a table before it is used.

    ``FITS``: read what it lacks. ``OUTDATED``: the changelog is whole, drop the table and read it anew. ``NEWER``: the
    changelog has lost records that this table holds for certain, write them back. ``UNKNOWN``: records were lost, and
    whether this table has all of them cannot be told; only a person can decide.
    """

    FITS = "fits"
    OUTDATED = "outdated"
    NEWER = "newer"
    UNKNOWN = "unknown"


def digest_of(key: bytes | None, value: bytes | None) -> int:
    """A checksum of a record that is never 0."""
    return crc32(value or b"", crc32(key or b"")) or 1


def judge(table: Mark | None, held: Held, owner: Mark | None, member: str) -> TableVerdict:
    """Return the verdict on the ``table`` of the worker ``member``; None is an empty one.

    The table is provably newer than the changelog if this worker was the partition's last owner (``owner``: what was
    noted last) and its table is of the same topic and as far as was noted: an owner applies a record to its table
    before it acknowledges the input, and no other worker has owned the partition since.
    """
    is_fitting = table is None or _fits(table, held)
    is_whole = owner is None or covers(held, owner)
    if is_fitting and is_whole:
        return TableVerdict.FITS
    if table is not None and owner is not None and owner.member == member and _is_as_far(table, owner):
        return TableVerdict.NEWER
    return TableVerdict.OUTDATED if owner is not None and is_whole else TableVerdict.UNKNOWN


def _fits(table: Mark, held: Held) -> bool:
    if is_another(held, table) or table.offset >= held.end:
        return False
    return not (table.digest and held.digest) or table.digest == held.digest


def covers(held: Held, owner: Mark) -> bool:
    """Tell whether the changelog has everything that the last owner's table had."""
    return not is_another(held, owner) and owner.offset < held.end


def is_another(held: Held, mark: Mark) -> bool:
    """Tell whether the changelog was made anew since it was marked, as far as both ids are known."""
    return bool(held.topic_id and mark.topic_id) and held.topic_id != mark.topic_id


def _is_as_far(table: Mark, owner: Mark) -> bool:
    return table.topic_id == owner.topic_id and table.offset >= owner.offset
