"""1,000,000 monitors backed up while they run, restored under another prefix, and their ticks on time there.

The database is that of a sink that has stored the catalogue. The restore is done when all of it is read again and
compared; "restored to ticking" is from its start until every partition's progress is within 1.5 s of now.
Quick: 60,000.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import msgspec
import orjson

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.worker import Worker
from everwatch.core.config import environment_with
from everwatch.kafka.topics import Topics

PREFIX = "restored."
WITHIN_S = 600.0


def measure(plan: Plan) -> Outcome:
    """One backup beside a worker, one restore, one start."""
    users, interval_s = (60_000, 10) if plan.quick else (1_000_000, 30)
    population = Population((Recurring("tcp", interval_s * 1000),), users, misfire="fire_all")
    with rig() as bench:
        worker = bench.start_worker()
        sink = Worker("sink", bench.folder, bench.bootstrap_servers, ("sink",), shared_by(bench))
        bench.workers.append(sink)
        bench.say(f"signing up {users:,} users")
        bench.publish(bench.topics.signups, Signups(population))
        bench.wait_taken_in(bench.topics.signups)
        bench.wait_on_time()
        wanted = bench.written(bench.topics.monitors_changelog)
        stored = sink_stored(bench)
        bench.wait_for_count(stored, int(wanted * 0.999), "catalogue stored")
        folder = bench.folder / "backup"
        bench.say("backing up")
        backed_up = told_by(bench, "backup", str(folder))
        backup_s = backed_up["seconds"]
        bench.say("stopping everything")
        bench.stop_worker(sink)
        bench.stop_worker(worker)
        target = target_of(bench)
        bench.say("restoring")
        began_s = bench.clock.monotonic_s()
        restored = told_by(bench, "restore", str(folder), variables=environment_of(target))
        bench.say("starting a worker there")
        started = target.start_worker("restored", environment_of(target))
        target.wait_on_time(WITHIN_S)
        ticking_s = bench.clock.monotonic_s() - began_s
        resident = started.resident_mib()
        if restored["monitors_hash"] != backed_up["monitors_hash"]:
            raise Unmeasured("The hashes of what was backed up and of what was restored differ.")
        target.stop_worker(started)
    return Outcome(
        [
            Figure("monitors", users, "monitors"),
            Figure("backup", backup_s, "s", "<= 60"),
            Figure("size of the backup", backed_up["bytes"] / 1e6, "MB"),
            Figure("restored and compared", restored["seconds"], "s"),
            Figure("restored to ticking", ticking_s, "s", "<= 300"),
            Figure("resident, worker on restored topics", resident, "MiB"),
        ]
    )


def shared_by(bench: Rig) -> dict[str, str]:
    """Return the settings that all processes of this installation share."""
    return {"EVERWATCH_PARTITIONS": str(bench.partitions)}


def sink_stored(bench: Rig) -> Callable[[], int]:
    """Return what counts the records of the changelog that the sink has stored."""
    group, topic = f"{bench.settings.application}-sink", bench.topics.monitors_changelog
    return lambda: sum(bench.client.committed(group, topic, bench.partitions))


def target_of(bench: Rig) -> Rig:
    """Return the place that is restored to: other topics of the same broker, another data folder."""
    folder = bench.folder / "target"
    settings = msgspec.structs.replace(bench.settings, topic_prefix=PREFIX, data_dir=folder)
    return replace(bench, settings=settings, topics=Topics.of(settings), folder=folder)


def environment_of(target: Rig) -> dict[str, str]:
    """Return the variables that name the place."""
    return {"EVERWATCH_TOPIC_PREFIX": PREFIX, "EVERWATCH_DATA_DIR": str(target.folder)}


def told_by(bench: Rig, *arguments: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a command prints as JSON. Raises Unmeasured when it fails."""
    said = subprocess.run(
        [sys.executable, "-m", "everwatch", *arguments, "--json"],
        env=environment_with(
            {
                "EVERWATCH_DATA_DIR": str(bench.folder),
                "EVERWATCH_BOOTSTRAP_SERVERS": bench.bootstrap_servers,
            }
            | shared_by(bench)
            | dict(variables or {})
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    if said.returncode:
        raise Unmeasured(f"everwatch {arguments[0]} failed: {said.stderr.strip()[-500:]}")
    return cast(dict[str, Any], orjson.loads(said.stdout))
