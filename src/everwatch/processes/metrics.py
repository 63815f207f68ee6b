"""Metrics that every process exports."""

import shutil
from contextlib import suppress
from pathlib import Path

from prometheus_client import Gauge, Info, disable_created_metrics

# a series more for each counter, of when it was made: a restart is seen in process_start_time_seconds
disable_created_metrics()  # type: ignore[no-untyped-call]

BUILD = Info("everwatch_build", "Version of Everwatch and of Python, and the name of the process.")
HEARTBEAT = Gauge("everwatch_heartbeat_seconds", "Unix time of the event loop's last iteration.")
LOOP_LAG = Gauge("everwatch_event_loop_lag_seconds", "Delay of the event loop's last timer.")
READY = Gauge("everwatch_ready", "1: the process is ready, as /readyz says; 0: it is not.")
PARTITIONS = Gauge("everwatch_partitions", "Partitions of every topic (EVERWATCH_PARTITIONS).")
DATA_FREE = Gauge("everwatch_data_free_bytes", "Free bytes of the file system that the data folder is on.")
DATA_SIZE = Gauge("everwatch_data_size_bytes", "Size of the file system that the data folder is on.")
CERTIFICATE_EXPIRES = Gauge(
    "everwatch_certificate_expires_seconds",
    "Unix time at which the certificate in the file of a setting expires.",
    ["setting"],
)
PROCESS_ANSWERS = Gauge(
    "everwatch_process_answers",
    "1: the process has answered this scrape; 0: it has not. Only where several processes share a port.",
    ["process", "replica"],
    registry=None,
)


def measure_disk(folder: Path) -> None:
    """Set size and free bytes of the file system where ``folder`` is or would be made."""
    for path in (folder, *folder.absolute().parents):
        with suppress(OSError):
            usage = shutil.disk_usage(path)
            DATA_FREE.set(usage.free)
            DATA_SIZE.set(usage.total)
            return
