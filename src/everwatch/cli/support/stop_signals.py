"""Ctrl-C and SIGTERM: as an event that is waited for, or both as an interruption."""

import signal
import threading


def stop_when_signalled() -> threading.Event:
    """The event that SIGINT and SIGTERM set from now on; they do nothing else."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def interrupt_by_sigterm() -> None:
    """Let SIGTERM end this command as Ctrl-C does, so that half-done work is undone."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
