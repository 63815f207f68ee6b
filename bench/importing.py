"""Rate of ``everwatch import`` from a CSV file: alone, again with nothing new, and with a worker that
registers them meanwhile.

With the worker the clock runs from the start of the importer's process until the worker has acknowledged all signups;
alone it is the importer's own, from its first row until the broker has the last.
"""

import csv
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import psutil

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.watching import per_million
from bench.worker import cpu_s_of
from everwatch.core.config import environment_with

_MONITORS = [
    {
        "monitor_id": "tcp",
        "kind": "tcp",
        "config": {"host": "127.0.0.1", "port": 9},
        "schedule": {"every": "1d"},
    }
]


def measure(plan: Plan) -> Outcome:
    """Measure the importer alone, on topics without a reader."""
    users = 60_000 if plan.quick else 1_000_000
    with rig() as bench:
        file = bench.folder / "users.csv"
        bench.say(f"a file of {users:,} users, one monitor each")
        _write(file, users)
        alone = _import(bench, file, "alone.")
        again = _import(bench, file, "alone.")
        if (alone["new"], again["unchanged"]) != (users, users):
            raise Unmeasured(f"Of {users} users {alone['new']} were new and {again['unchanged']} unchanged.")
        bench.say(f"alone {users / alone['seconds']:,.0f} rows/s, again {users / again['seconds']:,.0f}")
        bench.start_worker()
        bench.wait_on_time()
        began_s = bench.clock.monotonic_s()
        told = _import(bench, file, "")
        bench.say(f"imported within {told['seconds']:.1f} s")
        bench.wait_taken_in(bench.topics.signups)
        seconds = bench.clock.monotonic_s() - began_s
        registered = _registered(bench)
        if registered != users:
            raise Unmeasured(f"{registered} users are registered, and {users} were imported.")
        return Outcome(
            [
                Figure("imported and registered", users / seconds, "rows/s", ">= 28000"),
                Figure("rows", users, "rows"),
                Figure("importer alone", users / alone["seconds"], "rows/s"),
                Figure("importer's CPU, with its start", per_million(alone["cpu_s"], users), "CPU s per million"),
                Figure("again, nothing new", users / again["seconds"], "rows/s"),
                Figure("importer's memory at most", told["resident_mib"], "MiB"),
            ]
        )


def _write(file: Path, users: int) -> None:
    monitors = orjson.dumps(_MONITORS).decode()
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("user_id", "plan", "site", "monitors"))
        rows.writerows((f"user-{n:08d}", "pro", f"https://shop-{n}.example", monitors) for n in range(users))


def _import(bench: Rig, file: Path, prefix: str) -> dict[str, Any]:
    """Run the importer; what it said, with the CPU time and the memory that it took. Raises Unmeasured."""
    environment = environment_with(
        {
            "EVERWATCH_DATA_DIR": str(bench.folder),
            "EVERWATCH_BOOTSTRAP_SERVERS": bench.bootstrap_servers,
            "EVERWATCH_TOPIC_PREFIX": prefix,
            # compiled modules are kept, as where it is installed
            "PYTHONDONTWRITEBYTECODE": "",
        }
    )
    with (bench.folder / "import.log").open("w+b") as log:
        command = [sys.executable, "-m", "everwatch", "import", str(file), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as running:
            try:
                cpu_s, resident = _watched(running)
                assert running.stdout is not None
                out = running.stdout.read()
                status = running.wait()
            finally:
                running.kill()
        log.seek(0)
        if status:
            raise Unmeasured(f"The import ended with status {status}: {log.read()[-500:].decode(errors='replace')}")
    said: dict[str, Any] = orjson.loads(out)
    return said | {"cpu_s": cpu_s, "resident_mib": resident / 2**20}


def _watched(running: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Wait for the end of a process; return its CPU time in seconds and the most memory it had, bytes."""
    watched, cpu_s, resident = psutil.Process(running.pid), 0.0, 0
    # a process that ends meanwhile has no figures any more
    with suppress(psutil.Error):
        while running.poll() is None:
            cpu_s, resident = cpu_s_of(watched), max(resident, watched.memory_info().rss)
            Event().wait(0.05)
    return cpu_s, resident


def _registered(bench: Rig) -> int:
    """Number of monitors in the worker's changelog."""
    changelog = bench.topics.monitors_changelog
    found = bench.client.records(changelog, [0] * bench.partitions, bench.ends(changelog))
    return len({key for _, record in found if not (key := bytes(record.key)).endswith(b"\0")})
