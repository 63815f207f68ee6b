"""Write Grafana's dashboards from panels.toml: `uv run python deploy/grafana/dashboards.py`. A test compares them.

Each dashboard shows one installation: ``$namespace`` matches everything where targets have no such label.
"""

import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).parent
DASHBOARDS: dict[str, Any] = tomllib.loads((FOLDER / "panels.toml").read_text())
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def expression_of(line: str) -> str:
    """PromQL of a line, with Grafana's variables in it."""
    return line.replace("NAMESPACE", 'namespace=~"$namespace"')


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of every dashboard, with where it stands."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for line in panel["lines"].values():
                yield f"{name}: {panel['title']}", expression_of(line)


def files() -> dict[Path, str]:
    """Return the content of each file."""
    return {FOLDER / "dashboards" / f"{name}.json": _json_of(name) for name in DASHBOARDS}


def _json_of(name: str) -> str:
    wanted = DASHBOARDS[name]
    dashboard = (
        Dashboard(wanted["title"])
        .uid(f"everwatch-{name}")
        .tags(["everwatch"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            QueryVariable("namespace")
            .label("Namespace")
            .datasource(_SOURCE)
            .query("label_values(everwatch_partitions, namespace)")
            .include_all(True)
            .all_value(".*")
        )
    )
    for row, panels in groupby(wanted["panels"], key=lambda panel: panel["row"]):
        dashboard = dashboard.with_row(Row(row))
        for panel in panels:
            dashboard = dashboard.with_panel(_graph(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def _graph(panel: dict[str, Any]) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    graph = timeseries.Panel().title(panel["title"]).description(panel["meaning"]).unit(panel["unit"])
    graph = graph.datasource(_SOURCE).height(8).span(6).legend(legend.show_legend(True))
    for letter, (name, line) in zip("ABCDEFGH", panel["lines"].items(), strict=False):
        query = prometheus.Dataquery().expr(expression_of(line)).legend_format(name).ref_id(letter)
        graph = graph.with_target(query)
    return graph


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
