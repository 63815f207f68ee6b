"""States of many monitors over time: those of one page of a list, in parts of equal length."""

from everwatch.api.database import Database
from everwatch.api.problems import Problem
from everwatch.api.queries import TimelinesQuery, labelled, narrowed, selection_of
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import MonitorStates, TimelinesView
from everwatch.core.clock import Clock
from everwatch.model import Monitor
from everwatch.network.certificate import TIME_LEFT
from everwatch.schedule.duration import DAY_MS
from everwatch.store import Reader
from everwatch.store.paging import InvalidCursor
from everwatch.store.past_reading import read_availabilities
from everwatch.store.selections import ResultSelection


class Timelines:
    """Handler of ``/v1/timelines``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def list(self, call: Call, query: TimelinesQuery) -> Answer:
        """Show the states of the monitors that the same page of ``/v1/monitors`` has."""
        if query.total:
            raise Problem(400, "invalid_parameter", "Ask the list of monitors for its total.")
        which = labelled(call.principal, selection_of(query, narrowed(call.principal, query.user)))
        end = query.until or self._clock.now_ms()
        begin = query.since or end - DAY_MS
        if begin >= end:
            raise Problem(400, "invalid_parameter", "There is nothing between since and until: since must be earlier.")

        def read(reader: Reader) -> list[MonitorStates]:
            page = reader.list_monitors(which, query.cursor, sort=query.sort, reverse=query.reverse, limit=query.limit)
            return _states_of(reader, page, begin, end, query.bars)

        try:
            return Answer(TimelinesView(begin, end, await self._database.ask(read)))
        except InvalidCursor as error:
            raise Problem(400, "invalid_cursor", str(error)) from None


def _states_of(reader: Reader, monitors: list[Monitor], begin: int, end: int, bars: int) -> list[MonitorStates]:
    """Read the past user by user: the history of one is read once for all its monitors."""
    of_users: dict[str, dict[str, Monitor | None]] = {}
    for monitor in monitors:
        of_users.setdefault(monitor.user_id, {})[monitor.monitor_id] = monitor
    found = {
        (user_id, monitor_id): had
        for user_id, some in of_users.items()
        for monitor_id, had in read_availabilities(reader, user_id, some, begin, end, bars).items()
    }
    return [
        MonitorStates(
            each.user_id,
            each.monitor_id,
            had.total.availability,
            [bar.state for bar in had.bars],
            _certificate_end_of(reader, each),
        )
        for each in monitors
        for had in (found[each.user_id, each.monitor_id],)
    ]


def _certificate_end_of(reader: Reader, monitor: Monitor) -> int | None:
    """Return when the certificate ends that the last run saw; other kinds cost no question."""
    if monitor.spec.kind != "tls" and '"certificate_days_left"' not in monitor.spec.config:
        return None
    for stored in reader.results(ResultSelection(monitor.user_id, monitor.monitor_id), limit=1):
        if (left_ms := stored.result.timings.get(TIME_LEFT)) is not None:
            return stored.result.started_at + round(left_ms)
    return None
