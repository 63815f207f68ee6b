"""Figures of a worker's tables: bytes in RocksDB, and how far standby copies are behind."""

from contextlib import suppress
from typing import Any

from faust.types import TP

from streams.metrics import ROCKSDB, STANDBY_LAG
from streams.state.entry_store import EntryStore

_SUMMED = {"tables": "rocksdb.live-sst-files-size", "memtables": "rocksdb.cur-size-all-mem-tables"}
# all databases of a worker share it
_SHARED = {"cache": "rocksdb.block-cache-usage"}


def measure_databases(store: EntryStore) -> None:
    """Set the gauges of bytes in the databases that are open."""
    opened = list(store._dbs.values())  # Faust's store keeps them so
    for what, name in _SUMMED.items():
        ROCKSDB.labels(what).set(sum(_figure(each, name) for each in opened))
    for what, name in _SHARED.items():
        ROCKSDB.labels(what).set(max((_figure(each, name) for each in opened), default=0))


def measure_standbys(tables: Any, consumer: Any) -> None:
    """Set the gauge of changelog records that standby copies lack.

    ``tables``: Faust's manager of them; ``consumer``: the one that it reads with. Transaction markers count as records.
    """
    recovery, lag = tables.recovery, 0
    for tp in recovery.standby_tps:
        end, read_to = _end_of(consumer, tp), recovery.standby_offsets[tp]
        # Faust has neither until it has looked, after the partition has become a standby
        if end is not None and read_to is not None:
            lag += max(0, end - 1 - max(read_to, -1))
    STANDBY_LAG.set(lag)


def _end_of(consumer: Any, tp: TP) -> int | None:
    """Return where a partition ends, as its last fetch said; None before the first one."""
    # the partition may have gone in Faust's thread since
    with suppress(Exception):
        end: int | None = consumer._thread._ensure_consumer().highwater(tp)
        return end
    return None


def _figure(database: Any, name: str) -> int:
    with suppress(Exception):  # closed meanwhile
        return int(database.property_int_value(name) or 0)
    return 0
