"""Keys of the store's two indexes by time: what falls due, and what changes a monitor.

Keys begin with NUL. No entry's key does: ids have no control characters.
"""

from everwatch.encoding import codec, table_records
from everwatch.encoding.table_records import NO_DATES, Dates
from everwatch.model import Monitor

DUE, AGENDA = b"\0D", b"\0W"
# instants have eight bytes in the keys
_END_OF_TIME = 2**63


def due_key(due: int, key: bytes) -> bytes:
    """Return the key in the index of due items, of the monitor ``key`` at the instant ``due``."""
    return DUE + due.to_bytes(8, "big") + key


def agenda_key(due: int, key: bytes) -> bytes:
    """Return the key in the index of changes, of the monitor ``key`` at the instant ``due``."""
    return AGENDA + due.to_bytes(8, "big") + key


def index_keys(key: bytes, dates: Dates) -> list[bytes]:
    """Return the keys in both indexes of a monitor with these dates."""
    return [due_key(due, key) for due in dates.due] + [agenda_key(due, key) for due in dates.agenda]


def dates_of_entry(key: bytes, value: bytes) -> Dates:
    """Return the dates of a table entry of any schema version; none for one that cannot be decoded."""
    monitor_id = key.partition(codec.SEPARATOR)[2]
    if not monitor_id or codec.is_bookkeeping(monitor_id):
        return NO_DATES
    try:
        dates = table_records.dates_of(monitor_id, value)
        if dates is None:
            monitor = codec.decode_entry(key, value)
            assert isinstance(monitor, Monitor)  # its key says so
            dates = table_records.dates_of_monitor(monitor)
    except Exception:  # decoding the entry reports it
        return NO_DATES
    return dates if all(0 <= instant < _END_OF_TIME for instant in (*dates.due, *dates.agenda)) else NO_DATES
