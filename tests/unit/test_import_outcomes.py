"""Outcomes of imported rows: refused by the plans it knows, by a worker, in this pass or since the last one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.importing import Answers, Workers

from everwatch.core.clock import SettableClock
from everwatch.core.errors import EverwatchError, InvalidInput
from everwatch.kafka.command_client import Unanswered
from everwatch.model import Signup
from everwatch.transfer.import_pass import ImportTally, Interruption, Pass, PassCallbacks, RowRules, RowWay
from everwatch.transfer.import_rows import Objects, Row, RowReading
from everwatch.transfer.ledger import Ledger
from everwatch.transfer.outcomes import MOST_WAITING, AwaitedRow, Outcomes

NOOP = {"monitor_id": "m", "kind": "noop"}
HOUR_MS = 3_600_000
Refusals = list[tuple[int, str]]


def user(user_id: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, **more}


def no_gold(row: dict[str, Any]) -> tuple[str, str] | None:
    return ("unknown_plan", "there is no plan 'gold'") if row.get("plan") == "gold" else None


class Rows:
    """A source of these objects."""

    name, position, size = "users.jsonl", 0, 0

    def __init__(self, *given: dict[str, Any]) -> None:
        self.given = list(given)

    def rows(self) -> Iterator[Row]:
        make = Objects(RowReading()).row
        for number, each in enumerate(self.given, 1):
            yield make(number, orjson.dumps(each))


class Importer:
    """Imports into one state file, from workers that refuse the plan gold."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.clock = SettableClock()
        self.workers = Workers()
        self.most_waiting = MOST_WAITING
        self.workers.judge = no_gold
        self.refused: Refusals = []

    def take(self, *given: dict[str, Any], wait: bool = False, rules: RowRules | None = None) -> ImportTally:
        self.refused.clear()
        self.workers.sent.clear()
        self.workers.asked.clear()
        callbacks = PassCallbacks(lambda line, reason: self.refused.append((line, reason)), lambda _: None)
        with Ledger(self.state) as ledger:
            digest = rules.plans_digest if rules else b""
            learned = Outcomes(ledger, self._answers, self.clock, AwaitedRow(wait, 30), digest)
            learned.most_waiting = self.most_waiting
            one = Pass(Rows(*given), ledger, RowWay(lambda: self.workers, learned), callbacks, self.clock, rules)
            return one.run(Interruption())

    def _answers(self, since: Any) -> Answers:
        found = self.workers.answers(since)
        take = found.take

        def slowly(timeout_s: float) -> Any:
            self.clock.advance(int(timeout_s * 1_000))
            return take(timeout_s)

        found.take = slowly  # type: ignore[method-assign]
        return found


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(tmp_path / "users")


GOLD = "there is no plan 'gold' (at $.plan)"


def test_with_waiting_a_pass_counts_what_was_accepted_and_tells_what_was_refused(importer: Importer) -> None:
    tally = importer.take(user("a"), user("b", plan="gold"), user("c", monitor=NOOP), wait=True)
    assert (tally.sent, tally.new, tally.accepted, tally.refused) == (3, 3, 2, 1)
    assert importer.refused == [(2, GOLD)]
    assert [each["reply"] for each in importer.workers.asked] == ["always"] * 3


def test_a_refused_row_is_sent_again_and_accepted_when_the_workers_plans_have_changed(importer: Importer) -> None:
    rows = user("a"), user("b", plan="gold")
    importer.take(*rows, wait=True)
    again = importer.take(*rows, wait=True)
    assert (again.unchanged, again.again, again.sent, again.refused) == (1, 1, 1, 1)
    importer.workers.judge = lambda _: None
    taken = importer.take(*rows, wait=True)
    assert (taken.again, taken.accepted, taken.refused) == (1, 1, 0)
    assert importer.take(*rows, wait=True).unchanged == 2


def test_without_waiting_the_next_pass_learns_of_refusals_and_sends_those_rows_again(importer: Importer) -> None:
    rows = user("a"), user("b", plan="gold"), user("c", monitor=NOOP)
    first = importer.take(*rows)
    assert (first.sent, first.refused) == (3, 0)
    assert [each["reply"] for each in importer.workers.asked] == ["refused"] * 3
    second = importer.take(*rows)
    assert (second.refused_before, second.again, second.unchanged, second.sent) == (1, 1, 2, 1)
    assert importer.refused == [(0, f"since the last pass user 'b' was refused: {GOLD}")]
    importer.workers.judge = lambda _: None
    importer.take(*rows)
    importer.take(*rows)
    assert importer.take(*rows).unchanged == 3


def test_what_the_workers_refuse_late_is_learned_however_late(importer: Importer) -> None:
    importer.workers.silent = True
    importer.take(user("b", plan="gold"))
    assert importer.take(user("b", plan="gold")).unchanged == 1
    importer.workers.silent = False
    importer.workers.work()
    assert importer.take(user("b", plan="gold")).again == 1


def test_a_refusal_of_what_was_replaced_since_does_not_count(importer: Importer) -> None:
    importer.workers.silent = True
    importer.take(user("b", plan="gold"))
    importer.take(user("b", plan="pro"))
    importer.workers.silent = False
    importer.workers.work()
    tally = importer.take(user("b", plan="pro"))
    assert (tally.unchanged, tally.refused_before, tally.sent) == (1, 0, 0)


def test_when_replies_are_gone_everything_is_sent_again(importer: Importer) -> None:
    importer.take(user("a"), user("b", plan="gold"))
    importer.workers.first_kept = len(importer.workers.log) + 4
    importer.workers.log += importer.workers.log[:1] * 4
    assert importer.take(user("a"), user("b", plan="gold")).sent == 2


def test_a_row_that_was_refused_rests_until_it_or_the_plans_change(importer: Importer) -> None:
    plans = RowRules(plans_digest=b"one", refused_rest_ms=HOUR_MS)
    importer.take(user("b", plan="gold"), wait=True, rules=plans)
    rests = importer.take(user("b", plan="gold"), wait=True, rules=plans)
    assert (rests.sent, rests.refused, rests.unchanged) == (0, 1, 0)
    assert importer.refused == [(1, f"{GOLD}; it is not sent again until the row or the plans change")]
    changed = RowRules(plans_digest=b"two", refused_rest_ms=HOUR_MS)
    assert importer.take(user("b", plan="gold"), wait=True, rules=changed).again == 1
    assert importer.take(user("b", plan="gold", attributes={"n": 1}), wait=True, rules=changed).changed == 1
    importer.clock.advance(HOUR_MS)
    assert importer.take(user("b", plan="gold", attributes={"n": 1}), wait=True, rules=changed).again == 1


def test_a_plan_that_the_import_knows_is_checked_before_anything_is_sent(importer: Importer) -> None:
    class Plans:
        def expanded(self, signup: Signup) -> Signup:
            if signup.plan == "gold":
                raise InvalidInput("there is no plan 'gold'", "$.plan", "unknown_plan")
            return signup

    tally = importer.take(user("a"), user("b", plan="gold"), rules=RowRules(Plans()))
    assert (tally.sent, tally.refused) == (1, 1)
    assert importer.refused == [(2, GOLD)]


def test_without_any_answer_the_pass_ends_and_what_came_of_it_is_learned_later(importer: Importer) -> None:
    importer.workers.silent = True
    with pytest.raises(Unanswered) as caught:
        importer.take(user("a"), user("b", plan="gold"), wait=True)
    assert caught.value.exit_code == 3
    importer.workers.silent = False
    importer.workers.work()
    tally = importer.take(user("a"), user("b", plan="gold"), wait=True)
    assert (tally.unchanged, tally.again, tally.refused_before) == (1, 1, 1)


def test_a_refusal_that_overtakes_the_brokers_acknowledgement_is_not_forgotten(importer: Importer) -> None:
    importer.most_waiting = 0
    importer.workers.acknowledges_late = True
    assert importer.take(user("b", plan="gold"), wait=True).refused == 1
    importer.workers.acknowledges_late = False
    assert importer.take(user("b", plan="gold"), wait=True).again == 1


def test_each_pass_asks_under_ids_of_its_own(importer: Importer) -> None:
    importer.take(user("b", monitor=NOOP | {"payload": 1}))
    [first] = importer.workers.asked
    importer.take(user("b", monitor=NOOP))
    importer.take(user("b", monitor=NOOP | {"payload": 1}))
    [again] = importer.workers.asked
    # a command that comes again with its id would not be carried out
    assert first["command_id"] != again["command_id"]
    assert first["monitor"] == again["monitor"]


def test_replies_that_are_no_answer_to_an_import_are_passed_over(importer: Importer) -> None:
    importer.take(user("a"))
    for name in ("mine", "import-x", "import-00000000-zz", "import-00000000-" + "00" * 16):
        importer.workers.log += [importer_reply(name)]
    tally = importer.take(user("a"))
    assert (tally.unchanged, tally.refused_before) == (1, 0)


def importer_reply(signup_id: str) -> Any:
    workers = Workers()
    workers.judge = no_gold
    workers.unjudged = [user("a", plan="gold", signup_id=signup_id)]
    workers.work()
    return workers.log[0]


@settings(deadline=None)  # a state file is made each time
@given(
    passes=st.lists(
        st.tuples(st.lists(st.sampled_from(["free", "gold"]), min_size=3, max_size=3), st.booleans(), st.booleans()),
        max_size=6,
    )
)
def test_in_the_end_every_row_is_accepted_whatever_was_refused_before(
    tmp_path_factory: pytest.TempPathFactory, passes: list[tuple[list[str], bool, bool]]
) -> None:
    importer = Importer(tmp_path_factory.mktemp("state") / "users")
    held: dict[str, str] = {}

    def judge(row: dict[str, Any]) -> tuple[str, str] | None:
        refusal = no_gold(row) if is_strict else None
        if refusal is None:
            held[row["user_id"]] = row["plan"]
        return refusal

    importer.workers.judge = judge
    is_strict = True
    last = ["free", "free", "free"]
    for plans, wait, silent in passes:
        last = plans
        importer.workers.silent = silent
        try:
            importer.take(*(user(name, plan=plan) for name, plan in zip("abc", plans, strict=True)), wait=wait)
        except EverwatchError:
            assert silent
    is_strict, importer.workers.silent = False, False
    importer.workers.work()
    rows = [user(name, plan=plan) for name, plan in zip("abc", last, strict=True)]
    for _ in range(2):
        importer.take(*rows, wait=True)
    assert held == dict(zip("abc", last, strict=True))
    assert importer.take(*rows).unchanged == 3
