"""Routes of users."""

from everwatch.api.bodies import MaintenanceBody, PauseBody, UserBody, UserChange
from everwatch.api.export_views import ExportQuery
from everwatch.api.exporting import NDJSON, Exporting
from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.purge_views import PurgeView
from everwatch.api.purging import Purges
from everwatch.api.queries import UsersQuery
from everwatch.api.routes.parts import (
    CREATED,
    DONE,
    ENDED,
    READ_LIST,
    READ_USER,
    RUN_USER,
    SIGN_UP,
    USER,
    USERS,
    WRITE_USER,
)
from everwatch.api.routing import Example, Route
from everwatch.api.users import Users
from everwatch.api.views import Page, UserView


def purge_routes(purges: Purges) -> list[Route]:
    """Return the routes of purges."""
    admin = Permission(Scope.ADMIN, Reach.USER)
    return [
        Route(
            method="POST",
            path=f"{USER}/purges",
            permission=admin,
            handler=purges.post,
            summary="End a user, and delete all that the database holds of it, in the background.",
            audited="purge",
            answers={202: Example(PurgeView, "It is kept; Location says how far it has come.")},
            command=True,
        ),
        Route(
            method="GET",
            path=f"{USER}/purges/{{purge_id}}",
            permission=admin,
            handler=purges.get,
            summary="Show how far a purge has come, what it deleted, and what remains on topics until when.",
            answers={200: Example(PurgeView, "The purge.")},
        ),
    ]


def user_routes(users: Users, exporting: Exporting) -> list[Route]:
    """Return the routes of users."""
    found = {200: Example(UserView, "The user.")}
    return [
        Route(
            method="GET",
            path=USERS,
            permission=READ_LIST,
            handler=users.list,
            summary="List users.",
            query=UsersQuery,
            answers={200: Example(Page[UserView], "A page of users, by id.")},
        ),
        Route(
            method="GET",
            path=USER,
            permission=READ_USER,
            handler=users.get,
            summary="Show a user.",
            answers=found,
        ),
        Route(
            method="PUT",
            path=USER,
            permission=SIGN_UP,
            handler=users.put,
            summary="Sign a user up, or state its registration anew; with If-Match only the one that was seen.",
            audited="signup",
            body=UserBody,
            answers=CREATED,
            versioned=True,
            command=True,
        ),
        Route(
            method="PATCH",
            path=USER,
            permission=WRITE_USER,
            handler=users.patch,
            summary="Change a user's plan or attributes.",
            audited="set_user",
            body=UserChange,
            answers=DONE,
            versioned=True,
            command=True,
        ),
        Route(
            method="DELETE",
            path=USER,
            permission=WRITE_USER,
            handler=users.delete,
            summary="End a user with all monitors and pending tasks; results stay.",
            audited="deregister",
            answers=ENDED,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{USER}/pause",
            permission=RUN_USER,
            handler=users.pause,
            summary="Pause all monitors of a user.",
            audited="pause_user",
            body=PauseBody,
            answers=DONE,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{USER}/resume",
            permission=RUN_USER,
            handler=users.resume,
            summary="Resume what a pause of the user paused.",
            audited="resume_user",
            answers=DONE,
            command=True,
        ),
        Route(
            method="PUT",
            path=f"{USER}/maintenance",
            permission=RUN_USER,
            handler=users.maintain,
            summary="Set a user's maintenance windows.",
            audited="maintain",
            body=MaintenanceBody,
            answers=DONE,
            command=True,
        ),
        Route(
            method="GET",
            path="/v1/export",
            permission=READ_LIST,
            handler=exporting.get,
            summary="Export users with their monitors as rows, a page of users at a time, or all as one stream.",
            query=ExportQuery,
            media_type=NDJSON,
            answers={200: Example(bytes, "The rows; Link names the next page. In a stream marks stand between them.")},
            streams=True,
        ),
    ]
