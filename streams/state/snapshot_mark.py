"""Mark of a timetable's snapshot in a partition's database."""

import msgspec


class SnapshotMark(msgspec.Struct, frozen=True):
    """Identity of a timetable's snapshot.

    ``form``: version and packing; no monitor began after ``newest_since`` or ended after ``newest_gone``.
    ``entries``: numbers of users and monitors in the table.
    """

    form: str
    newest_since: int
    newest_gone: int = 0
    offset: str = ""
    entries: tuple[int, int] | None = None
