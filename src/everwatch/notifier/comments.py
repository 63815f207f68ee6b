"""Comments that people write on incidents. Pure."""

import msgspec

MOST_COMMENTS = 200
"""Comments on one incident."""


class IncidentComment(msgspec.Struct, frozen=True):
    """What somebody wrote on an incident: ``by`` whom, ``at`` which instant (ms)."""

    comment_id: str
    incident_id: str
    user_id: str
    at: int
    by: str
    text: str
