"""Entry of the audit log."""

from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.core.bounds import PLAIN, InstantMs

EntryId = Annotated[str, Meta(min_length=1, max_length=64, pattern=PLAIN)]
Short = Annotated[str, Meta(max_length=64, pattern=PLAIN)]
Plain = Annotated[str, Meta(max_length=256, pattern=PLAIN)]
Change = Annotated[str, Meta(max_length=8_000, pattern=PLAIN)]
HttpStatus = Annotated[int, Meta(ge=100, le=599)]


class AuditEntry(msgspec.Struct, frozen=True):
    """A change that was asked for over HTTP, carried out or refused. Identity: ``entry_id``.

    ``token_id``: the token that asked, "" for a login link; ``address``: where the request came from,
    ``forwarded_for``: of which client, as trusted proxies say, "" if they say nothing. ``route``: method and path
    without the values of its parameters. ``command``: what was asked for, of ``user_id`` and ``monitor_id`` ("" where
    none is meant). ``status``: of HTTP; ``outcome``: for a program, as the answer said it. ``command_id``: "" where
    there is none. ``change``: the fields of a monitor's spec that it changed, as JSON: a list of ``{"path", "before",
    "after"}``.
    """

    entry_id: EntryId
    at: InstantMs
    token_id: Short
    token_name: Plain
    role: Short
    address: Short
    forwarded_for: Plain
    route: Plain
    command: Short
    user_id: Plain
    monitor_id: Plain
    status: HttpStatus
    outcome: Short
    command_id: Plain
    request_id: Short
    change: Change = ""
