"""Find the one line of Kafka's logs that has the reason why a broker did not start."""

import re
from pathlib import Path

_READ_AT_MOST = 512 * 1024
_LONGEST_LINE = 300
_STARTS_WITH_TIME = re.compile(r"^\d{4}-\d\d-\d\d\S+ ")
_ALARM = re.compile(r"^\d{4}-\d\d-\d\d\S+ (?:ERROR|FATAL) (.*)")
_THROWN = re.compile(r"^(?:Caused by: |Exception in thread \S+ )?(?:[a-z]\w*\.)+\w*(?:Exception|Error|Fault)\b:? ?.+")
_JAVA_COMPLAINT = re.compile(r"^(?:Error|Terminating|Unrecognized|#\s+\S|Exception|Invalid|There is insufficient)")


def size_of(log: Path) -> int:
    """Return the length of a log, which ``telling_line`` takes to skip what earlier starts wrote."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def telling_line(log: Path, start: int, console: Path) -> tuple[str, Path] | None:
    """Return the line that best describes the failure, and the file it stands in; None if there is no line at all.

    ``log`` is read from byte ``start`` on. ``console`` has what Java itself said.
    """
    lines = _read(log, start)
    if line := _first_trouble(lines):
        return line, log
    spoken = _read(console, 0)
    if line := _first_trouble(spoken) or next((said for said in spoken if _JAVA_COMPLAINT.match(said)), None):
        return line[:_LONGEST_LINE], console
    for path, found in ((log, lines), (console, spoken)):
        if found:
            return found[-1][:_LONGEST_LINE], path
    return None


def _first_trouble(lines: list[str]) -> str | None:
    """Return the root cause below the first alarm: later alarms are mostly consequences of it."""
    best = None
    for line in lines:
        if alarm := _ALARM.match(line):
            if best is not None:
                break
            best = alarm[1]
        elif _STARTS_WITH_TIME.match(line):
            continue
        elif _THROWN.match(line):
            best = line.removeprefix("Caused by: ")
    return best[:_LONGEST_LINE] if best else None


def _read(path: Path, start: int) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            # A file shorter than before was rolled over in the meantime, and is all new.
            begin = start if start <= size else 0
            file.seek(max(begin, size - _READ_AT_MOST))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
