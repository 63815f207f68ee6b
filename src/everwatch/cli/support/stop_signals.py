"""Ctrl-C and SIGTERM as an event that is waited for."""

import signal
import threading


def stop_when_signalled() -> threading.Event:
    """The event that SIGINT and SIGTERM set from now on; they do nothing else."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
