"""``python -m bench NAME``: run one measurement and print its figures."""

import argparse
import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import orjson
import psutil
from confluent_kafka import KafkaException

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.plots import draw
from bench.report import Outcome, medians
from everwatch.core.errors import EverwatchError

BENCHES = {
    "ticks": "lateness of the ticks of 1,000,000 monitors, every tick compared with its schedule",
    "capacity": "the most ticks a second that one worker holds, and its cost beside Kafka Streams and plain Faust",
    "churn": "the cost of ticks while 1 % of the monitors change each minute, beside Kafka Streams",
    "memory": "resident memory per monitor, up to 10,000,000 monitors",
    "registration": "durable registrations a second, beside Kafka Streams and plain Faust",
    "recovery": "a worker of 1,000,000 monitors started again, its local state kept and wiped",
    "signals": "heartbeats into state, a second",
    "feedback": "results into states and transitions, a second",
    "delayed": "10,000,000 delayed tasks pending, and 100,000 of them due in one second",
    "import": "users imported from a CSV file, and registered meanwhile",
    "scaleout": "one load on 1, 2 and 4 workers",
    "rebalance": "gaps in ticks and results when a worker or an executor joins, stops, is killed",
    "standstill": "500 monitors whose executor stands still for 125 s: time until every state is fresh again",
    "fairness": "wait of 500 healthy users' checks beside 120 users whose checks hang, on one executor",
    "sharing": "shares of two and three executors under load, and after one is killed",
    "sink": "results into SQLite and PostgreSQL, new, replayed, by two sinks and while old ones go, beside executemany",
    "queries": "p95 of what pages ask of a database of 1,000,000 users, on both databases, beside plain statements",
    "console": "first rows, interactions, 20 tabs, a killed API, an hour of live tail in a browser, on both databases",
    "retention": "72 simulated hours at 1,000 results/s with a day kept: the size of both databases stays the same",
    "notifier": "the notifier's steps for each CPU second, one outage of 100,000 users, a burst, and 100 SIGKILLs",
    "regions": "cost of a tick in three regions beside one without a region, for each process, in one run",
    "footprint": "CPU, memory and disk of every process at 1,000 http checks a second",
    "chain": "highest rate of checks with p99 from scheduled_at to the stored row < 2 s, on both databases",
    "day": "a day of 10,000,000 monitors, by a clock faster than real: lateness of the schedule; starts nothing",
    "sizes": "bytes of each record on its topic, and packed in a batch; starts nothing",
    "backup": "1,000,000 monitors backed up while they run, restored under another prefix, and ticking there",
    "api": "pings, batches, lists of 1,000,000 users, writes read through four processes, edits, streams, a bulk job",
    "executor": "http probes of one executor for each second of CPU, beside blackbox_exporter",
}
# a module cannot have every name
MODULES = {"import": "importing"}
PLOTS = "plots"
FAILED, INTERRUPTED = 2, 130
_STOPS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Exit status 0 when everything was measured (a missed target is a figure too), 2 when something was not."""
    parser = _parser()
    given = parser.parse_args()
    if given.name == PLOTS and not (given.reports and given.plot):
        parser.error("plots needs saved reports and --plot FOLDER")
    if (
        given.runs < 1
        or given.processes < 1
        or given.monitors < 1
        or min(given.users, given.rate, given.fencing_turns, given.results) < 0
    ):
        parser.error(
            "--runs, --processes and --monitors must be at least 1, --users, --results, --rate and --fencing-turns no"
            " less than 0"
        )
    for number in _STOPS:
        signal.signal(number, _interrupt)
    try:
        if given.name == PLOTS:
            written = draw([orjson.loads(path.read_bytes()) for path in given.reports], given.plot)
            sys.stdout.write("".join(f"{path}\n" for path in written))
            return
        plan = Plan(
            given.quick,
            given.peers,
            given.processes,
            given.users,
            given.rate,
            given.only,
            given.folder,
            given.monitors,
            given.fencing_turns,
            given.results,
        )
        outcome = _run(given.name, plan, given.runs)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        raise SystemExit(INTERRUPTED) from None
    except (Unmeasured, EverwatchError, KafkaException, OSError, ValueError, psutil.Error) as error:
        raise SystemExit(_failed(f"{given.name} was not measured: {error}")) from None
    report = outcome.as_json(given.name)
    if given.save:
        given.save.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    if given.plot:
        draw([report], given.plot)
    lines = [orjson.dumps(report).decode()] if given.json else outcome.as_lines()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    if outcome.problem:
        raise SystemExit(_failed(outcome.problem))


def _run(name: str, plan: Plan, runs: int) -> Outcome:
    measure = cast(Callable[[Plan], Outcome], importlib.import_module(f"bench.{MODULES.get(name, name)}").measure)
    outcomes = []
    for number in range(1, runs + 1):
        if runs > 1:
            sys.stderr.write(f"run {number} of {runs}\n")
        outcomes.append(measure(plan))
    return medians(outcomes)


def _parser() -> argparse.ArgumentParser:
    names = "".join(f"\n  {name:<13} {what}" for name, what in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Run one measurement on an embedded Kafka of its own and print its figures.\n{names}"
        f"\n  {PLOTS:<13} no measurement: draw saved reports (--save) into the folder of --plot",
        epilog="example: uv run python -m bench ticks --quick --json",
    )
    parser.add_argument("name", choices=[*BENCHES, PLOTS], metavar="NAME", help="what to measure")
    parser.add_argument("reports", nargs="*", type=Path, metavar="REPORT", help="for plots: files written by --save")
    parser.add_argument("--quick", action="store_true", help="a smaller size, in under 50 s")
    parser.add_argument("--json", action="store_true", help="the last line of stdout is one JSON object")
    parser.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the peers too, where there is a comparison to make (default: yes)",
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="run N times and report medians")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes of each executor (bench executor, standstill, fairness, sharing)",
    )
    parser.add_argument(
        "--users",
        type=int,
        default=0,
        metavar="N",
        help="users of a generated database (bench queries, api, console), of a bulk job (bench api --only jobs),"
        " of bench registration, monitors (bench day)",
    )
    parser.add_argument(
        "--results",
        type=int,
        default=0,
        metavar="N",
        help="results of a generated database (bench queries; default: five for each user)",
    )
    parser.add_argument(
        "--monitors", type=int, default=1, metavar="N", help="monitors of each user (bench registration)"
    )
    parser.add_argument(
        "--fencing-turns",
        type=int,
        default=0,
        metavar="N",
        help="no peers: a worker with transactions and one without take N turns each (bench registration, churn)",
    )
    parser.add_argument(
        "--rate",
        type=int,
        default=0,
        metavar="N",
        help="results a second of the simulated load (bench retention), or of the first step (bench chain)",
    )
    parser.add_argument(
        "--only",
        choices=["", "postgresql", "sqlite", "load", "lists", "jobs", "steps", "growth", "outages", "burst", "kills"],
        default="",
        metavar="PART",
        help="measure one kind of database: postgresql or sqlite (bench queries, console, retention, chain); one part:"
        " load, lists or jobs (bench api), steps, growth, outages, burst or kills (bench notifier)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="FOLDER",
        help="keep the generated database here and use it again: for 1,000,000 users about 12 GB (bench queries; 45 GB"
        " with 100,000,000 results on PostgreSQL) or 6 GB (bench api and console, the same)",
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw what can be drawn, as SVG")
    return parser


def _failed(sentence: str) -> int:
    sys.stderr.write(" ".join(sentence.split()) + "\n")
    return FAILED


def _interrupt(*_: object) -> None:
    # asked twice, it would leave behind what it is about to stop
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
