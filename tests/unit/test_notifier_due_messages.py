"""Which messages are begun with: every one in the end, the longest due first, and none behind another's server."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.new_databases import open_new_storage
from support.notifying import MINUTE, SECOND, START

from everwatch.core.config import Settings
from everwatch.notifier.alerts import Message
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.due_messages import LOOK_AGAIN_AT_ALL_MS, Passed, ServerLoads, choose
from everwatch.notifier.storage import Storage, Work


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_new_storage(Settings(data_dir=tmp_path))
    yield opened
    opened.close()


def message(number: int, lane: str, due_at: int) -> Delivery:
    """A message that waits."""
    made = Message(f"m-{number}", "hook", "u-1", START, ())
    return Delivery(
        made.message_id, "g", "hook", "u-1", "webhook", lane, "", "pending", 0, 0, due_at, 0, START, 0, "", made
    )


class Sending:
    """Claims what is chosen, ``per_lane`` at once to a server."""

    def __init__(self, room: int, per_lane: int) -> None:
        self.passed = Passed()
        self.under_way: Counter[str] = Counter()
        self.lanes: dict[str, str] = {}
        self.begun: list[str] = []
        self._room, self._per_lane = room, per_lane

    def put(self, work: Work, *messages: Delivery) -> None:
        """Messages come."""
        self.lanes.update({each.delivery_id: each.lane for each in messages})
        work.put_deliveries(messages)

    def look(self, work: Work, now: int) -> list[str]:
        """Begin with what is chosen."""
        room = self._room - self.under_way.total()
        servers = ServerLoads(self.under_way, lambda _: self._per_lane, lambda _: 0)
        found = choose(work, self.passed, now, room, servers)
        self.passed = found.passed
        assert len(found.delivery_ids) <= max(0, room)
        work.claim(found.delivery_ids, now + MINUTE)
        self.under_way += Counter(self.lanes[id_] for id_ in found.delivery_ids)
        assert all(number <= self._per_lane for number in self.under_way.values())
        self.begun += found.delivery_ids
        return found.delivery_ids

    def end(self, delivery_id: str) -> None:
        """An attempt ends."""
        self.under_way -= Counter([self.lanes[delivery_id]])


def test_a_message_passes_any_number_that_wait_behind_a_full_server(storage: Storage) -> None:
    sending = Sending(10, 3)
    with storage.begin() as work:
        sending.put(work, *(message(n, "mail", START + n) for n in range(500)), message(500, "slack", START + 600))
        assert set(sending.look(work, START + SECOND)) == {"m-0", "m-1", "m-2", "m-500"}
        assert sending.passed.crowded == {"mail"}
        sending.put(work, message(501, "hook", START + MINUTE))
        assert sending.look(work, START + MINUTE) == ["m-501"]
        sending.end("m-1")
        assert sending.look(work, START + MINUTE) == ["m-3"]


def test_what_was_passed_by_is_looked_at_again_after_a_while(storage: Storage) -> None:
    sending = Sending(10, 3)
    with storage.begin() as work:
        sending.put(work, *(message(n, "mail", START) for n in range(10, 20)))
        assert len(sending.look(work, START + MINUTE)) == 3
        # made by a notifier whose clock is behind
        sending.put(work, message(1, "hook", START))
        assert sending.look(work, START + MINUTE + SECOND) == []
        assert sending.look(work, START + MINUTE + LOOK_AGAIN_AT_ALL_MS) == ["m-1"]


def test_a_server_that_is_left_alone_keeps_its_messages_for_later(storage: Storage) -> None:
    with storage.begin() as work:
        work.put_deliveries([message(n, "mail", START) for n in range(5)])
        until = START + MINUTE
        found = choose(work, Passed(), START, 10, ServerLoads(Counter(), lambda _: 3, lambda _: until))
        assert found.delivery_ids == []
        assert work.due_deliveries(until - 1, 10) == []
        assert len(work.due_deliveries(until, 10)) == 5


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lanes=st.lists(st.sampled_from(["mail", "slack", "hook", "pager"]), min_size=1, max_size=60),
    room=st.integers(1, 9),
    per_lane=st.integers(1, 4),
    steps=st.lists(st.integers(0, 5), max_size=30),
)
def test_every_message_is_begun_with_once_in_the_order_of_its_server(
    storage: Storage, lanes: list[str], room: int, per_lane: int, steps: list[int]
) -> None:
    sending = Sending(room, per_lane)
    todo = [message(n, lane, START + n) for n, lane in enumerate(lanes)]
    now = START
    with storage.begin() as work:
        for step in [*steps, *[1] * (len(lanes) + 1)]:
            some, todo = todo[:step], todo[step:]
            now = max(now, *(each.due_at for each in some), START)
            sending.put(work, *some)
            sending.look(work, now)
            for id_ in sending.begun:
                if sending.under_way[sending.lanes[id_]]:
                    sending.end(id_)
        for _ in lanes * 2:
            for lane in list(sending.under_way):
                del sending.under_way[lane]
            sending.look(work, now)
        ids = [f"m-{n}" for n in range(len(lanes))]
        work.settle([("sent", now, now, "", id_) for id_ in ids])
        assert sorted(sending.begun) == sorted(ids)
        for name in set(lanes):
            own = [int(id_[2:]) for id_ in sending.begun if sending.lanes[id_] == name]
            assert own == sorted(own)
        # the next example has the same database
        work.delete_users(["u-1"])
