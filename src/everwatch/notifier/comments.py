"""Comments that people write on incidents. Pure."""

import msgspec

MOST_COMMENTS = 200
"""Comments on one incident."""


class IncidentComment(msgspec.Struct, frozen=True):
    """Comment on an incident: its author (``by``) and its instant (``at``, ms)."""

    comment_id: str
    incident_id: str
    user_id: str
    at: int
    by: str
    text: str
