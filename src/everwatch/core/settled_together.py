"""Outcomes that are waited for together: a future for all of them costs less than one for each."""

import asyncio
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")


class SettledTogether(Generic[Outcome]):
    """``outcomes``, None where there is none yet; ``all_settled`` is done once each place has been settled."""

    __slots__ = ("_is_open", "all_settled", "left", "outcomes")

    def __init__(self, count: int, all_settled: asyncio.Future[None]) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.left = count
        self.all_settled = all_settled
        self._is_open = bytearray(b"\x01") * count

    def settle(self, place: int, outcome: Outcome | None) -> None:
        """Note an outcome; only the first one of a place counts."""
        if not self._is_open[place]:
            return
        self._is_open[place] = 0
        self.outcomes[place] = outcome
        self.left -= 1
        if not self.left and not self.all_settled.done():
            self.all_settled.set_result(None)
