"""Write docs/metrics.md from the metrics in the code: `uv run python .ci/metrics.py`. A test compares them."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase

import everwatch
import streams

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """# Metrics

Every process serves these on `EVERWATCH_METRICS_PORT` at `/metrics` ([observability.md](observability.md)), and the API
on its own port, too. No label names a user, a monitor or a target. Python's own `process_…` (CPU, memory, open files)
and `python_…` metrics come with them. This page is written from the code by `.ci/metrics.py`.
"""


def modules() -> Iterator[ModuleType]:
    """The modules that define metrics: every one that is called ``metrics``."""
    for package in (everwatch, streams):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith(".metrics"):
                yield importlib.import_module(found.name)


def metrics_of(module: ModuleType) -> list[MetricWrapperBase]:
    """The metrics that a module defines, in its order."""
    return [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]


def row(metric: MetricWrapperBase) -> str:
    """A metric as a row of a table."""
    name, suffix = metric._name, {Counter: "_total", Info: "_info"}.get(type(metric), "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}{suffix}` | {metric._type} | {labels} | {metric._documentation} |"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for module in sorted(modules(), key=lambda module: module.__doc__ or ""):
        title = (module.__doc__ or "").partition("\n")[0].removesuffix(".")
        rows = "\n".join(map(row, metrics_of(module)))
        parts.append(f"## {title}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
