"""Types of an export's query and of its pages."""

from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.api.queries import OfUser

PAUSED, REDACTED = "Everwatch-Paused", "Everwatch-Redacted"
"""Headers: of the page's monitors, how many are paused (rows do not say so), and how many have redacted secrets."""


class ExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose rows; ``limit``: users of a page, each with all monitors.

    ``users_only``: no monitors that were put by command. ``everything``: also those that are over. ``stream``: all
    pages in one answer, with a mark behind each.
    """

    user: OfUser = ""
    users_only: bool = False
    everything: bool = False
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[str, Meta(max_length=4_096)] = ""
    stream: bool = False
