"""Metrics that every process exports."""

import shutil
from pathlib import Path

from prometheus_client import Gauge, Info, disable_created_metrics

# a series more for each counter, of when it was made: a restart is seen in process_start_time_seconds
disable_created_metrics()  # type: ignore[no-untyped-call]

BUILD = Info("everwatch_build", "Version of Everwatch and of Python, and the name of the process.")
HEARTBEAT = Gauge("everwatch_heartbeat_seconds", "Unix time at which the event loop last turned.")
LOOP_LAG = Gauge("everwatch_event_loop_lag_seconds", "Delay of the event loop's last timer.")
READY = Gauge("everwatch_ready", "1: the process is ready, as /readyz says; 0: it is not.")
DATA_FREE = Gauge("everwatch_data_free_bytes", "Free bytes of the file system that the data folder is on.")


def measure_disk(folder: Path) -> None:
    """Set what is free where ``folder`` is; keeps the value if that cannot be told."""
    try:
        DATA_FREE.set(shutil.disk_usage(folder).free)
    except OSError:
        return
