"""Tag of a user's registration: another one whenever what a signup states of the user has changed. Pure.

A writer that has read the user sends the tag along; the worker refuses the change if the tag is another one by then.
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.model import User

PRESENT, ABSENT = "present", "absent"
"""In place of a tag: there is such a user, whatever its registration; there is none."""


def registration_tag(user: User, versions: Mapping[str, int]) -> str:
    """Return the tag of a registration. ``versions``: of the monitors that the last signup named, those that exist."""
    stated = (
        user.plan,
        sorted(user.attributes.items()),
        user.maintenance,
        user.registered_at,
        [(name, versions.get(name, 0)) for name in user.monitor_ids],
    )
    return blake2b(msgspec.json.encode(stated), digest_size=8).hexdigest()


def check_registration(expected: str, user: User | None, versions: Mapping[str, int]) -> None:
    """Raise InvalidInput if the registration is not as it is expected to be; "" expects nothing."""
    if not expected or (expected == PRESENT and user is not None) or (expected == ABSENT and user is None):
        return
    if user is None:
        found = "there is no such user"
    elif expected == ABSENT:
        found = "there is such a user"
    elif expected == registration_tag(user, versions):
        return
    else:
        found = "the registration has changed since it was read"
    raise InvalidInput(found, "$.if_registration", RefusalCode.VERSION_MISMATCH)
