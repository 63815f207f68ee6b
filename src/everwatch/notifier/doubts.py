"""Messages in doubt: their notifier was killed during an attempt, which may have come through."""

from everwatch.notifier.delivery_rows import IN_DOUBT
from everwatch.notifier.metrics import DOUBTS
from everwatch.notifier.outcome_rows import SettledDelivery
from everwatch.notifier.routes import Doubt, Rules
from everwatch.notifier.storage import Storage


def resolve_doubts(storage: Storage, rules: Rules, now: int, *, everything: bool) -> int:
    """Decide on messages that were being sent when their notifier ended; return how many there were.

    ``everything``: no other notifier runs. Else those whose lease is over are meant.
    """
    with storage.begin() as work:
        found = work.in_doubt(now, everything=everything)
        rows = []
        outcomes = []
        for delivery in found:
            route = rules.named(delivery.route)
            doubt = route.doubt if route is not None else Doubt.RESEND
            DOUBTS.labels(doubt.value).inc()
            reason = f"{IN_DOUBT}the notifier ended during attempt {delivery.attempt}"
            if doubt is Doubt.SKIP:
                settled = SettledDelivery(delivery, "skipped", f"{reason}; not sent again")
            else:
                settled = SettledDelivery(delivery, "pending", f"{reason}; sent again", now)
            outcomes.append(settled)
            settled_at = 0 if settled.due_at else now
            rows.append((settled.state, now, settled_at, settled.reason, delivery.delivery_id))
        work.doubt(rows)
        work.put_outcomes(outcomes, now)
        return len(found)
