"""A courier and workers behind it, for imports without a broker: what was sent, and what is answered to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from everwatch.core.errors import BrokerUnavailable
from everwatch.model import CommandOutcome, Reply
from everwatch.transfer.import_rows import Row
from everwatch.transfer.ledger import LedgerMark

Judge = Callable[[dict[str, Any]], tuple[str, str] | None]


class Workers:
    """The topics of inputs and ``replies``. Loads are there at once, unless the broker is ``away``.

    ``judge`` gives code and reason of a row that is refused, None for one that is taken; while ``silent`` nothing is
    answered. ``sent``: the rows without what asks for answers; ``asked``: with it.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.away = False
        # the broker acknowledges rows at the end only
        self.acknowledges_late = False
        self.silent = False
        self.at_send: Callable[[], None] = lambda: None
        self.judge: Judge = lambda _: None
        self.log: list[Reply] = []
        self.first_kept = 0
        self.marks: list[LedgerMark] = []
        self.unjudged: list[dict[str, Any]] = []

    # --- the ways of rows and of answers --------------------------------------------------------------------------

    def new_sender(self) -> "Workers":
        return self

    def new_answers(self, since: Mapping[int, int] | None) -> Any:
        return self.answers(since)

    # --- the courier ----------------------------------------------------------------------------------------------

    def send(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
        if self.away:
            raise BrokerUnavailable("No Kafka broker answered.")
        for row in rows:
            given = orjson.loads(row.value)
            self.asked.append(given)
            self.unjudged.append(given)
            self.sent.append({k: v for k, v in given.items() if k not in ("signup_id", "command_id", "reply")})
        self.marks += marks
        self.at_send()
        self.work()

    def arrived(self) -> list[LedgerMark]:
        if self.away or self.acknowledges_late:
            return []
        return self._acknowledge()

    def finish(self, within_s: float = 0) -> list[LedgerMark]:
        if self.away:
            raise BrokerUnavailable("No Kafka broker answered.")
        return self._acknowledge()

    def _acknowledge(self) -> list[LedgerMark]:
        marks, self.marks = self.marks, []
        return marks

    def close(self) -> None:
        pass

    # --- the workers ----------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Answer what was sent, unless silent."""
        if self.silent:
            return
        for given in self.unjudged:
            refusal = self.judge(given)
            if refusal is None and given.get("reply") != "always":
                continue
            answer = CommandOutcome.REGISTERED if refusal is None else CommandOutcome.REFUSED
            code, reason = refusal or ("", "")
            monitor = given.get("monitor", {})
            self.log.append(
                Reply(
                    given.get("command_id", ""),
                    given["user_id"],
                    monitor.get("monitor_id", ""),
                    given.get("command", "signup"),
                    answer,
                    reason,
                    "$.plan" if refusal else "",
                    0,
                    0,
                    code,
                    given.get("signup_id", ""),
                )
            )
        self.unjudged.clear()

    def answers(self, since: Mapping[int, int] | None = None) -> "Answers":
        """The topic ``replies``, from a position or from its end on."""
        return Answers(self, len(self.log) if since is None else since[0])


class Answers:
    """One reader of ``replies``."""

    def __init__(self, workers: Workers, at: int) -> None:
        self._workers = workers
        self.is_incomplete = at < workers.first_kept
        self._at = max(at, workers.first_kept)
        self._end = len(workers.log)

    @property
    def positions(self) -> dict[int, int]:
        return {0: self._at}

    def take(self, timeout_s: float) -> list[Reply]:
        some = self._workers.log[self._at : self._at + 3]
        self._at += len(some)
        return some

    def catch_up(self) -> list[Reply]:
        return self.take(0) if self._at < self._end else []

    def close(self) -> None:
        pass
