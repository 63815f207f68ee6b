"""Routes of results, transitions and figures computed from them."""

from everwatch.api.past import Past
from everwatch.api.queries import (
    AllResultsQuery,
    AllTransitionsQuery,
    LatencyQuery,
    ResultsQuery,
    TimelineQuery,
    TimelinesQuery,
    TransitionsQuery,
)
from everwatch.api.routes.parts import MONITOR, READ_LIST, READ_MONITOR, READ_MONITORS
from everwatch.api.routing import Example, Route
from everwatch.api.state_views import LatencyView, TimelinesView, TimelineView
from everwatch.api.timelines import Timelines
from everwatch.api.views import Page, ResultView
from everwatch.model import Transition


def past_routes(past: Past, timelines: Timelines) -> list[Route]:
    """Return the routes of results, transitions and figures computed from them."""
    results = {200: Example(Page[ResultView], "A page of results, the latest first.")}
    transitions = {200: Example(Page[Transition], "A page of transitions, the latest first.")}
    return [
        Route(
            method="GET",
            path="/v1/results",
            permission=READ_LIST,
            handler=past.results,
            summary="List results of all users.",
            query=AllResultsQuery,
            answers=results,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/results",
            permission=READ_MONITOR,
            handler=past.results_of_monitor,
            summary="List a monitor's results.",
            query=ResultsQuery,
            answers=results,
        ),
        Route(
            method="GET",
            path="/v1/transitions",
            permission=READ_LIST,
            handler=past.transitions,
            summary="List transitions of all users.",
            query=AllTransitionsQuery,
            answers=transitions,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/transitions",
            permission=READ_MONITOR,
            handler=past.transitions_of_monitor,
            summary="List a monitor's transitions.",
            query=TransitionsQuery,
            answers=transitions,
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/timeline",
            permission=READ_MONITOR,
            handler=past.timeline,
            summary="Show for how long a monitor was in which state, and its availability.",
            query=TimelineQuery,
            answers={200: Example(TimelineView, "The interval, and bars of it.")},
        ),
        Route(
            method="GET",
            path="/v1/timelines",
            permission=READ_MONITORS,
            handler=timelines.list,
            summary="Show which states the monitors of one page of a list were in.",
            query=TimelinesQuery,
            answers={200: Example(TimelinesView, "The monitors, in the order of the list.")},
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/latency",
            permission=READ_MONITOR,
            handler=past.latency,
            summary="Show durations and counts of a monitor by hour or day, from its roll-ups.",
            query=LatencyQuery,
            answers={200: Example(LatencyView, "The hours or days.")},
        ),
    ]
