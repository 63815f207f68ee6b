"""``python -m bench NAME``: run one measurement and print its figures."""

import argparse
import sys
from collections.abc import Callable

import orjson

from bench import registration, ticks
from bench.report import Figure, machine

BENCHES: dict[str, Callable[[bool], list[Figure]]] = {"ticks": ticks.measure, "registration": registration.measure}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="example: uv run python -m bench ticks --quick --json",
    )
    parser.add_argument("name", choices=sorted(BENCHES), help="what to measure")
    parser.add_argument("--quick", action="store_true", help="a smaller size, in under 50 s")
    parser.add_argument("--json", action="store_true", help="the last line of stdout is one JSON object")
    given = parser.parse_args()
    figures = BENCHES[given.name](given.quick)
    if given.json:
        report = {"bench": given.name, "figures": [f.as_json() for f in figures], "peers": [], "machine": machine()}
        sys.stdout.write(orjson.dumps(report).decode() + "\n")
        return
    for figure in figures:
        sys.stdout.write(figure.as_line() + "\n")


if __name__ == "__main__":
    main()
