"""``everwatch notifier`` that kills itself at one step of its work: ``python -m support.dying_notifier STEP``.

The steps are those that docs/notifications.md numbers. A step that is a transaction has two instants: before its commit
("-judged") and after it ("judged"). SIGKILL is what ends it, so nothing of the process cleans up.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn

from everwatch.notifier import composing, judging, notifier_process
from everwatch.notifier.delivery_rows import DeliveryRows
from everwatch.notifier.intake_rows import IntakeRows
from everwatch.notifier.outcome_publisher import OutcomePublisher
from everwatch.notifier.senders.over_http import HttpSender
from everwatch.notifier.storage import Storage, Work

STEPS = (
    "read",
    "-stored",
    "stored",
    "-judged",
    "judged",
    "-composed",
    "composed",
    "-begun",
    "begun",
    "sending",
    "handed-over",
    "-settled",
    "settled",
    "published",
)


def die() -> NoReturn:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it outlived SIGKILL")


def arm(step: str) -> None:
    """Let this process end at ``step``, the first time that there is anything to do in it."""
    done: set[str] = set()

    def note(owner: Any, name: str, what: str, is_work: Callable[..., bool]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def noted(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if is_work(*args, **kwargs):
                done.add(what)
            return result

        setattr(owner, name, noted)

    note(IntakeRows, "put_events", "stored", lambda _, events: bool(events))
    note(judging._Judging, "write", "judged", lambda each: bool(each._verdicts))
    note(composing._Composing, "compose", "composed", lambda each, _: bool(each._new))
    note(DeliveryRows, "claim", "begun", lambda _, claimed, lease_until: bool(claimed) and lease_until > 0)
    note(DeliveryRows, "settle", "settled", lambda _, rows: bool(rows))
    begin = Storage.begin

    @contextmanager
    def dying_begin(self: Storage) -> Iterator[Work]:
        done.clear()
        with begin(self) as work:
            yield work
            if step.startswith("-") and step[1:] in done:
                die()
        if step in done:
            die()

    Storage.begin = dying_begin  # type: ignore[method-assign]
    build = notifier_process.build_batch

    @wraps(build)
    def dying_build(*args: Any) -> Any:
        batch = build(*args)
        if step == "read" and batch.transitions:
            die()
        return batch

    notifier_process.build_batch = dying_build  # type: ignore[attr-defined]
    send = HttpSender.send

    @wraps(send)
    async def dying_send(self: HttpSender, *args: Any, **kwargs: Any) -> Any:
        if step == "sending":
            die()
        outcome = await send(self, *args, **kwargs)
        if step == "handed-over":
            die()
        return outcome

    HttpSender.send = dying_send  # type: ignore[method-assign]
    turn = OutcomePublisher.turn

    @wraps(turn)
    async def dying_turn(self: OutcomePublisher) -> int:
        published = await turn(self)
        if published and step == "published":
            die()
        return published

    OutcomePublisher.turn = dying_turn  # type: ignore[method-assign]


if __name__ == "__main__":
    from everwatch.cli.main import main

    if sys.argv[1]:
        assert sys.argv[1] in STEPS, sys.argv[1]
        arm(sys.argv[1])
    sys.argv[1:] = ["notifier", "--stop-with-parent"]
    main()
