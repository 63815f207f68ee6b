"""Messages in doubt: their notifier was killed during an attempt, which may have come through."""

from everwatch.notifier.delivery_rows import IN_DOUBT
from everwatch.notifier.metrics import DOUBTS
from everwatch.notifier.routes import Doubt, Rules
from everwatch.notifier.storage import Storage


def resolve_doubts(storage: Storage, rules: Rules, now: int, *, everything: bool) -> int:
    """Decide on messages that were being sent when their notifier ended; return how many there were.

    ``everything``: no other notifier runs. Else those whose lease is over are meant.
    """
    with storage.begin() as work:
        found = work.in_doubt(now, everything=everything)
        rows = []
        for delivery in found:
            route = rules.named(delivery.route)
            doubt = route.doubt if route is not None else Doubt.RESEND
            DOUBTS.labels(doubt.value).inc()
            reason = f"{IN_DOUBT}the notifier ended during attempt {delivery.attempt}"
            if doubt is Doubt.SKIP:
                rows.append(("skipped", now, now, f"{reason}; not sent again", delivery.delivery_id))
            else:
                rows.append(("pending", now, 0, f"{reason}; sent again", delivery.delivery_id))
        work.doubt(rows)
        return len(found)
