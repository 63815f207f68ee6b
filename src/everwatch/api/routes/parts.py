"""Paths, permissions and answers that routes share."""

from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.routing import Example
from everwatch.api.views import OutcomeView

USERS, USER = "/v1/users", "/v1/users/{user_id}"
MONITORS, MONITOR = f"{USER}/monitors", f"{USER}/monitors/{{monitor_id}}"
DONE = {
    200: Example(OutcomeView, "It was carried out."),
    202: Example(OutcomeView, "It is kept; no worker answered yet."),
}
ENDED = {204: Example(None, "It was carried out."), 202: Example(OutcomeView, "It is kept; no worker answered yet.")}
CREATED = {201: Example(OutcomeView, "It was created."), **DONE}

READ_USER, READ_LIST = Permission(Scope.READ, Reach.USER), Permission(Scope.READ, Reach.NARROWED)
READ_WHOLE = Permission(Scope.READ, Reach.WHOLE)
WRITE_USER, RUN_USER = Permission(Scope.WRITE, Reach.USER), Permission(Scope.RUN, Reach.USER)
READ_MONITOR, RUN_MONITOR = (Permission(scope, Reach.USER, by_label=True) for scope in (Scope.READ, Scope.RUN))
READ_MONITORS = Permission(Scope.READ, Reach.NARROWED, by_label=True)
NOTIFY_USER = Permission(Scope.NOTIFY, Reach.USER)
SIGN_UP = Permission(Scope.WRITE, Reach.USER, signs_up=True)
ADMIN = Permission(Scope.ADMIN, Reach.WHOLE)
