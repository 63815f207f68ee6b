"""Rows of a generated database: statements that make users, monitors of all sorts, and what came of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Table

from everwatch.model import Policy
from everwatch.schedule.duration import DAY_MS
from everwatch.store.row_mapping import text_of
from everwatch.store.sql_schema import (
    FAILED,
    audit_log,
    dead_letters,
    monitor_counts,
    monitor_labels,
    monitor_search,
    monitors,
    replies,
    results,
    tasks,
    transitions,
    user_counts,
    user_search,
    users,
)

NOW_MS = 20_000 * DAY_MS
DAYS = 3
HOSTS, TEAMS, NAMES, CROWDED = 50_000, 1_000, 5_000, 100
"""Distinct targets, teams (a label) and names; and users whose monitors have a tenth of all results."""
EACH = 3
"""Monitors of a user."""
ROWS_AT_ONCE = 200_000


@dataclass(frozen=True)
class Scale:
    """Numbers of generated users, monitors and results."""

    users: int
    results: int
    transitions: int
    tasks: int

    @property
    def monitors(self) -> int:
        """All users' monitors."""
        return self.users * EACH


class Step(NamedTuple):
    """A statement and how many rows of which table it makes."""

    statement: str
    table: str = ""
    rows: int = 0


class Filling:
    """Statements in the words of one database. ``i`` is the number of a row."""

    def __init__(self, connection: Connection) -> None:
        self.on_postgresql = connection.dialect.name == "postgresql"
        self._failed = FAILED[connection.dialect.name]

    def steps(self, scale: Scale) -> Iterator[Step]:
        """All of them, in order."""
        owner, own = f"i / {EACH}", f"i % {EACH}"
        user, plan = self._user("i"), self._plan("i")
        yield from self._insert(
            users, scale.users,
            {"user_id": user, "plan": plan, "attributes": "'{}'", "registered_at": "1",
             "updated_at": f"{NOW_MS} - {_chance('i', 3)} * 1000", "partition": "i % 8"},
        )  # fmt: skip
        yield from self._insert(user_search, scale.users, {"user_id": user, "text": f"{self._line()} || {user}"})
        names = self._choice(own, ["'website'", "'api'", f"'db-' || ({_chance('i', 5)} % 1000)"])
        monitor = {"user_id": self._user(owner), "monitor_id": names}
        target = f"'host-' || ({_chance('i', 7)} % {HOSTS}) || '.example'"
        name = f"'Shop ' || ({_chance('i', 8)} % {NAMES})"
        state = self._spread(_chance("i", 1), [("up", 950), ("down", 10), ("late", 1), ("paused", 29), ("new", 10)])
        kind = self._spread(_chance("i", 2), [("http", 700), ("tcp", 200), ("dns", 50), ("heartbeat", 50)])
        labels = """'[["env","prod"],["team","' || TEAM || '"]]'"""
        team = f"'t' || ({_chance('i', 9)} % {TEAMS})"
        since = f"{NOW_MS} - {_chance('i', 4)} * 977"
        yield from self._insert(
            monitors, scale.monitors,
            monitor | {"kind": kind, "config": "'{}'", "schedule": """'{"type":"every","interval_ms":60000}'""",
            "policy": f"'{text_of(Policy())}'", "origin": "'signup'", "version": "1", "since": "1000", "state": state,
            "state_since": since, "reason": "''", "streak": "0", "judged_at": "0", "last_signal": "0",
            "partition": f"({owner}) % 8", "name": name, "labels": labels.replace("TEAM", team),
            "plan": self._plan(owner), "target": target, "changed_at": since},
        )  # fmt: skip
        line = self._line()
        texts = f"lower({line} || {names} || {line} || {name} || {line} || {target})"
        yield from self._insert(monitor_search, scale.monitors, monitor | {"text": texts})
        yield from self._insert(monitor_labels, scale.monitors, monitor | {"key": "'env'", "value": "'prod'"})
        yield from self._insert(monitor_labels, scale.monitors, monitor | {"key": "'team'", "value": team})
        yield Step(
            f"INSERT INTO {monitor_counts.name} SELECT partition, state, kind, plan, count(*) FROM monitors"
            " GROUP BY partition, state, kind, plan"
        )
        counted = "SELECT partition, plan, count(*) FROM users GROUP BY partition, plan"
        yield Step(f"INSERT INTO {user_counts.name} {counted}")
        yield from self._events(scale)

    def _events(self, scale: Scale) -> Iterator[Step]:
        # every tenth is of some users' websites, who so have results enough for many pages
        owner = f"(CASE WHEN i % 10 = 0 THEN (i / 10) % {CROWDED} ELSE (i * 7919) % {scale.users} END)"
        status = ["success", "failure", "late", "skipped"]
        codes = [(str(n) if self.on_postgresql else f"'{each}'") for n, each in enumerate(status, 1)]
        chosen = f"CASE WHEN {_chance('i', 1)} % 100 = 0 THEN {codes[1]} ELSE {codes[0]} END"
        at = f"{NOW_MS} - i * {max(1, DAYS * DAY_MS // scale.results)}"
        website = {"user_id": self._user(owner), "monitor_id": "'website'"}
        yield from self._insert(
            results, scale.results,
            website | {"scheduled_at": at, "attempt": "1", "kind": "'http'", "version": "1", "status": chosen,
            "reason": "'200 OK'", "started_at": at, "duration_ms": "31.5", "timings": """'{"dns":0.4}'""",
            "executor": "'everwatch-executor-1'", "skipped_until": "0", "skipped_count": "0", "stored_at": at,
            "deliveries": "1"},
        )  # fmt: skip
        at = f"{NOW_MS} - i * {max(1, DAYS * DAY_MS // scale.transitions)}"
        to_state = self._choice("i % 2", ["'down'", "'up'"])
        yield from self._insert(
            transitions, scale.transitions,
            website | {"at": at, "to_state": to_state, "from_state": "'new'", "reason": "''", "version": "1",
            "kind": "'http'", "plan": self._plan(owner), "lasted_ms": "1000",
            "target": f"'host-' || ({_chance('i', 7)} % {HOSTS}) || '.example'"},
        )  # fmt: skip
        task = self._spread(_chance("i", 1), [("pending", 600), ("done", 300), ("failed", 50), ("cancelled", 50)])
        yield from self._insert(
            tasks, scale.tasks,
            {"user_id": self._user(f"(i * 7919) % {scale.users}"), "monitor_id": "'task-' || i", "kind": "'webhook'",
             "due_at": f"{NOW_MS} + (i - {scale.tasks // 3}) * 1000", "status": task,
             "paused": "false" if self.on_postgresql else "0", "reason": "''", "created_at": "1",
             "ended_at": "0", "attempt": "0", "version": "1", "partition": "0"},
        )  # fmt: skip

        yield from self._answers(scale)

    def _answers(self, scale: Scale) -> Iterator[Step]:
        """Dead letters, of which one in a thousand has a rare reason, replies, entries of the audit log: one a user."""
        user = self._user(f"(i * 7919) % {scale.users}")
        at = f"{NOW_MS} - i * {max(1, DAYS * DAY_MS // scale.users)}"
        code = self._spread(_chance("i", 1), [("unknown_plan", 900), ("not_found", 99), ("quota", 1)])
        yield from self._insert(
            dead_letters, scale.users,
            {"partition": "i % 8", "letter_offset": "i", "refused_at": at, "reason": f"'no ' || i || {code}",
             "alike": f"'no N' || {code}", "path": "''", "code": code, "refused_by": "'worker'",
             "source_topic": self._choice("i % 3", ["'signups'", "'commands'", "'signals'"]), "source_partition": "1",
             "source_offset": "i", "source_ms": at, "user_id": user, "key": user, "encoding": "'json'",
             "value": """'{"user_id":"a","plan":"gold"}'""", "problem": "''", "cut": "''", "redriven_at": "0",
             "redriven_to": "''"},
        )  # fmt: skip
        yield from self._insert(
            replies, scale.users,
            {"user_id": user, "asked_id": "'command-' || i", "asked": "'command'", "at": at, "answer": "'done'",
             "monitor_id": "'website'", "command": "'pause'", "reason": "''", "path": "''", "code": "''",
             "version": "1", "partition": "0", "log_offset": "i"},
        )  # fmt: skip
        yield from self._insert(
            audit_log, scale.users,
            {"entry_id": "'entry-' || i", "at": at, "token_id": "'token-' || (i % 50)", "token_name": "'ci'",
             "role": "'operator'", "address": "'192.0.2.7'", "forwarded_for": "''", "route": "'POST /v1/batch'",
             "command": "'pause'", "user_id": user, "monitor_id": "'website'", "status": "200", "outcome": "'done'",
             "command_id": "'command-' || i", "request_id": "'request'"},
        )  # fmt: skip

    def _insert(self, table: Table, count: int, columns: Mapping[str, str]) -> Iterator[Step]:
        """Yield statements that insert ``count`` rows, numbered by ``i``."""
        for begin in range(0, count, ROWS_AT_ONCE):
            end = min(count, begin + ROWS_AT_ONCE)
            numbers = (
                f"SELECT generate_series({begin}::bigint, {end} - 1) AS i"
                if self.on_postgresql
                else "WITH RECURSIVE n(i) AS"
                f" (SELECT {begin} UNION ALL SELECT i + 1 FROM n WHERE i < {end} - 1) SELECT i FROM n"
            )
            yield Step(
                f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
                f" FROM ({numbers}) AS numbers",
                table.name,
                end - begin,
            )

    def _user(self, number: str) -> str:
        text = f"lpad(({number})::text, 7, '0')" if self.on_postgresql else f"printf('%07d', {number})"
        return f"'user-' || {text}"

    def _plan(self, number: str) -> str:
        return self._spread(_chance(f"({number})", 6), [("free", 900), ("pro", 90), ("gold", 10)])

    def _line(self) -> str:
        return "chr(10)" if self.on_postgresql else "char(10)"

    def _choice(self, number: str, values: list[str]) -> str:
        whens = " ".join(f"WHEN {n} THEN {value}" for n, value in enumerate(values[:-1]))
        return f"CASE {number} {whens} ELSE {values[-1]} END"

    def _spread(self, number: str, shares: list[tuple[str, int]]) -> str:
        """One of some texts, each as often as its share of a thousand says."""
        whens, total = "", 0
        for text, share in shares[:-1]:
            total += share
            whens += f" WHEN {number} % 1000 < {total} THEN '{text}'"
        return f"CASE{whens} ELSE '{shares[-1][0]}' END"


def _chance(number: str, turn: int) -> str:
    """A number from 0 to 65,535 that follows from another, and looks like chance."""
    return f"((({number} + {turn * 7919}) * 2654435761 % 4294967296) / 65536)"
