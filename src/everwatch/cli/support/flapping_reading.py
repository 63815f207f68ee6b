"""Which monitors are flapping, for commands that show monitors."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError

if TYPE_CHECKING:
    from everwatch.cli.support.api_reading import ApiReader
    from everwatch.model import Monitor
    from everwatch.store import SqlReader

Keys = Collection[tuple[str, str]]


def flapping_among(settings: Settings, reader: "SqlReader | ApiReader", monitors: Collection["Monitor"]) -> Keys:
    """Return the user and monitor ids of those that are flapping; none where there is no notifier to know it.

    With an API its answers have said so of each monitor that ``reader`` has given.
    """
    keys = {(each.user_id, each.monitor_id) for each in monitors}
    if settings.api_url:
        from everwatch.cli.support.api_reading import ApiReader

        assert isinstance(reader, ApiReader)  # the settings say so
        return keys & reader.flapping
    from everwatch.cli.support.notifier_reading import reading_notifier  # SQLAlchemy takes a while to import

    try:
        with reading_notifier(settings) as storage, storage.look() as work:
            return work.flapping(keys) or set()
    except StoreError:
        return set()


def with_flapping(words: str, key: tuple[str, str], flapping: Keys) -> str:
    """Return a state as people read it, and that the monitor is flapping."""
    return f"{words}, flapping" if key in flapping else words
