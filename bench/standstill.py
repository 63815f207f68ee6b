"""500 http monitors every 10 s, whose executor is stopped (SIGSTOP) for 125 s and continued (quick: 100, for 25 s).

Measures, on the results topic, the time until the newest run of every monitor is at most its interval plus 2 s old; and
counts the ticks that were due during the standstill: run, skipped, without a result.
"""

import os
import signal
from collections import Counter
from threading import Event

from bench.http_users import AT_ONCE, HttpUsers, Results, process_ids, start
from bench.plan import Plan
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.target import target
from everwatch.model import Status

INTERVAL_MS = 10_000
FRESH_MS = INTERVAL_MS + 2_000
GRACE_MS = 60_000
WITHIN_S = 240.0
_AFTER_S = 20.0


def measure(plan: Plan) -> Outcome:
    """Stop the executor once, continue it, and return the figures."""
    users, standstill_s = (100, 25.0) if plan.quick else (500, 125.0)
    with rig() as bench, target() as probed:
        start(bench, HttpUsers("user", users, probed.url, INTERVAL_MS))
        results = Results(bench)
        executor = bench.start_executor(plan.processes, AT_ONCE)
        seen = _Seen(bench, results, users)
        bench.wait_until(seen.all_fresh, "every monitor has a fresh result", WITHIN_S)
        bench.say(f"the executor stands still for {standstill_s:g} s")
        stopped = bench.clock.now_ms()
        for process in process_ids(executor):
            os.kill(process, signal.SIGSTOP)
        Event().wait(standstill_s)
        seen.look()
        for process in process_ids(executor):
            os.kill(process, signal.SIGCONT)
        continued = bench.clock.now_ms()
        bench.say("and goes on")
        bench.wait_until(seen.all_fresh, "every monitor has a fresh result", WITHIN_S)
        fresh_s = (bench.clock.now_ms() - continued) / 1000
        Event().wait(_AFTER_S)
        seen.look()
        return Outcome(seen.figures(stopped, continued, fresh_s))


class _Seen:
    """The results read so far, by tick."""

    def __init__(self, bench: Rig, results: Results, users: int) -> None:
        self._bench = bench
        self._results = results
        self._users = users
        self._newest: dict[str, int] = {}
        self._late_ms: dict[tuple[str, int], int] = {}
        self._skipped: dict[tuple[str, int], int] = {}
        self._twice = 0

    def look(self) -> None:
        """Read the new results."""
        for result in self._results.new():
            tick = result.user_id, result.scheduled_at
            if result.status is Status.SKIPPED:
                self._skipped[tick] = result.skipped_count
                continue
            self._twice += tick in self._late_ms
            self._late_ms.setdefault(tick, result.started_at - result.scheduled_at)
            self._newest[result.user_id] = max(result.scheduled_at, self._newest.get(result.user_id, 0))

    def all_fresh(self) -> bool:
        """Return True if the newest run of every monitor is at most ``FRESH_MS`` old."""
        self.look()
        oldest = self._bench.clock.now_ms() - FRESH_MS
        return len(self._newest) == self._users and min(self._newest.values()) > oldest

    def figures(self, stopped: int, continued: int, fresh_s: float) -> list[Figure]:
        """Return the figures of a standstill from ``stopped`` to ``continued`` (ms).

        ``fresh_s``: how long after ``continued`` every monitor had a fresh result.
        """
        meanwhile = range(stopped, continued)
        ran = {tick: late_ms for tick, late_ms in self._late_ms.items() if tick[1] in meanwhile}
        late_of = Counter(user_id for (user_id, _), late_ms in ran.items() if late_ms > GRACE_MS)
        skipped = [count for (_, due), count in self._skipped.items() if due in meanwhile]
        due = self._users * (continued - stopped) // INTERVAL_MS
        return [
            Figure("fresh after", fresh_s, "s", "<= 10"),
            Figure("ticks due in the standstill", due, "ticks"),
            Figure("... run", len(ran), "ticks"),
            Figure("... run later than their grace", late_of.total(), "ticks"),
            # fire_last, the rule of these monitors: the newest runs if nothing fresher of its monitor has run
            Figure("... more than one of these of a monitor", sum(n > 1 for n in late_of.values()), "monitors", "<= 0"),
            Figure("... skipped", sum(skipped), "ticks"),
            Figure("... results that say so", len(skipped), "results"),
            # a tick that was due in the moment of the stop or the start may be on either side
            Figure("... without a result", max(0, due - len(ran) - sum(skipped) - self._users), "ticks", "<= 0"),
            Figure("runs twice", self._twice, "runs"),
        ]
