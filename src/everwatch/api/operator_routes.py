"""Operators with a password, and login links, as resources of administrators.

A password is hashed before anything is written; neither it nor its hash is answered or logged.
"""

import asyncio

from everwatch.api.access_views import LoginLinkBody, LoginLinkView, OperatorBody, OperatorList, OperatorView
from everwatch.api.logins import new_login
from everwatch.api.operators import OperatorRecord, Operators, new_operator
from everwatch.api.passwords import hash_of, objection_to
from everwatch.api.permissions import Role
from everwatch.api.problems import InvalidField, Problem, not_found
from everwatch.api.read_back import has_read
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import quoted
from everwatch.api.token_routes import SEEN_WITHIN_S, RecordSender
from everwatch.api.tokens import encoded, key_of
from everwatch.core.clock import Clock


class OperatorRoutes:
    """Handlers of ``/v1/operators`` and ``/v1/login-links``."""

    def __init__(self, operators: Operators, records: RecordSender, topic: str, clock: Clock) -> None:
        self._operators = operators
        self._records = records
        self._topic = topic
        self._clock = clock

    async def list(self, _: Call) -> Answer:
        """List operators who log in with a password."""
        return Answer(OperatorList(list(map(_view, self._operators.records()))))

    async def put(self, call: Call, body: OperatorBody) -> Answer:
        """Add an operator, or change role or password; a change ends the operator's sessions."""
        name, now = call.path["operator"], self._clock.now_ms()
        found = self._operators.find(name)
        if body.password is not None:
            if objection := objection_to(body.password):
                raise Problem(422, "invalid", objection, errors=[InvalidField("$.password", objection)])
            # a hash takes memory and a core for a while
            hashed = await asyncio.to_thread(hash_of, body.password)
        elif found is not None:
            hashed = found.password
        else:
            reason = "a new operator needs a password"
            raise Problem(422, "invalid", reason, errors=[InvalidField("$.password", reason)])
        role = body.role or (found.role if found else Role.VIEWER)
        made = new_operator(name, role, hashed, now, found.created_at if found else None)
        await self._records.send(self._topic, key_of(made), encoded(made))
        await has_read(lambda: self._operators.holds(made.credential_id), SEEN_WITHIN_S)
        status = 200 if found else 201
        headers = {} if found else {"Location": f"/v1/operators/{quoted(name)}"}
        change = AuditedChange("put_operator", command_id=name, status=status, outcome="done")
        return Answer(_view(made), status, headers, changes=[change])

    async def remove(self, call: Call) -> Answer:
        """Remove an operator, and end the operator's sessions."""
        found = self._operators.find(call.path["operator"])
        if found is None:
            raise not_found("such operator")
        await self._records.send(self._topic, key_of(found), None)
        await has_read(lambda: self._operators.find(found.name) is None, SEEN_WITHIN_S)
        change = AuditedChange("remove_operator", command_id=found.name, status=204, outcome="done")
        return Answer(None, 204, changes=[change])

    async def link(self, _: Call, body: LoginLinkBody) -> Answer:
        """Make a link that logs a browser in to the console: once, within ten minutes."""
        made = new_login(body.role, self._clock.now_ms(), user_id=body.user_id or "")
        await self._records.send(self._topic, key_of(made.record), encoded(made.record))
        view = LoginLinkView(made.link(""), made.record.expires_at)
        change = AuditedChange(
            "create_login_link", body.user_id or "", command_id=made.record.login_id, status=201, outcome="done"
        )
        return Answer(view, 201, changes=[change])


def _view(record: OperatorRecord) -> OperatorView:
    return OperatorView(record.name, record.role, record.created_at, record.changed_at)
