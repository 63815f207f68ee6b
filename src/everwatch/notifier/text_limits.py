"""Limits of text messages within a day (UTC): one bad rule, or one bad night, must not cost a fortune."""

from collections.abc import Iterable

from everwatch.notifier.addresses import SmsAddress
from everwatch.notifier.alerts import derived_id
from everwatch.notifier.routes import TextLimits
from everwatch.notifier.storage import Work
from everwatch.notifier.text_count_rows import OF_USERS
from everwatch.schedule.duration import DAY_MS


def beyond_limits(
    work: Work, limits: TextLimits, texts: Iterable[tuple[str, SmsAddress, bool]], now: int
) -> dict[str, str]:
    """Count new text messages (id, address, whether it is for a user); return those that are too many, and why.

    What operators get counts for its number alone: users' messages must not keep theirs back.
    """
    receivers = {id_: derived_id("number", address.to) for id_, address, _ in texts}
    day = now // DAY_MS
    counts = work.text_counts(day, receivers.values())
    refused: dict[str, str] = {}
    for id_, _, for_user in texts:
        receiver = receivers[id_]
        if limits.per_number and counts[receiver] >= limits.per_number:
            refused[id_] = f"this number has had the {limits.per_number} text messages of a day ([sms] per_number)"
        elif for_user and limits.per_day and counts[OF_USERS] >= limits.per_day:
            refused[id_] = f"users have had the {limits.per_day} text messages of a day ([sms] per_day)"
        else:
            counts[receiver] += 1
            counts[OF_USERS] += for_user
    work.put_text_counts(day, counts)
    return refused
