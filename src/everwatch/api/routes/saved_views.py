"""Routes of saved views."""

from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.routes.parts import READ_LIST
from everwatch.api.routing import Example, Route
from everwatch.api.saved_view_types import SavedView, SavedViewBody, SavedViewList
from everwatch.api.saved_views import SavedViewRoutes


def saved_view_routes(views: SavedViewRoutes) -> list[Route]:
    """Return the routes of saved views."""
    run = Permission(Scope.RUN, Reach.NARROWED)
    return [
        Route(
            method="GET",
            path="/v1/views",
            permission=READ_LIST,
            handler=views.list,
            summary="List the saved views of the console.",
            answers={200: Example(SavedViewList, "The views that this token shares.")},
        ),
        Route(
            method="PUT",
            path="/v1/views",
            permission=run,
            handler=views.save,
            summary="Save the filters and the order of a page under a name.",
            audited="save_view",
            body=SavedViewBody,
            answers={200: Example(SavedView, "The view.")},
            refusals=(409,),
        ),
        Route(
            method="DELETE",
            path="/v1/views/{view_id}",
            permission=run,
            handler=views.delete,
            summary="Delete a saved view.",
            audited="delete_view",
            answers={204: Example(None, "It is deleted.")},
        ),
    ]
