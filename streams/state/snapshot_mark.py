"""Mark of a timetable that was put away in a partition's database."""

import msgspec


class SnapshotMark(msgspec.Struct, frozen=True):
    """Identity of a timetable that was put away.

    ``form``: version and packing; no monitor began after ``newest_since`` or ended after ``newest_gone``.
    ``entries``: numbers of users and monitors in the table.
    """

    form: str
    newest_since: int
    newest_gone: int = 0
    offset: str = ""
    entries: tuple[int, int] | None = None
