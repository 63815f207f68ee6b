"""Routes of delayed tasks."""

from everwatch.api.bodies import TaskBody
from everwatch.api.queries import AllTasksQuery, TaskCountsQuery, TasksQuery
from everwatch.api.routes.parts import ENDED, READ_LIST, READ_USER, USER, WRITE_USER
from everwatch.api.routing import Example, Route
from everwatch.api.tasks import Tasks
from everwatch.api.views import OutcomeView, Page, TaskCountsView, TaskView

TASKS = f"{USER}/tasks"


def task_routes(tasks: Tasks) -> list[Route]:
    """Return the routes of delayed tasks."""
    page = {200: Example(Page[TaskView], "A page of tasks, those due first.")}
    return [
        Route(
            method="GET",
            path="/v1/tasks",
            permission=READ_LIST,
            handler=tasks.list,
            summary="List delayed tasks of all users.",
            query=AllTasksQuery,
            answers=page,
        ),
        Route(
            method="GET",
            path="/v1/tasks/counts",
            permission=READ_LIST,
            handler=tasks.counts,
            summary="Count delayed tasks by status.",
            query=TaskCountsQuery,
            answers={200: Example(TaskCountsView, "The counts.")},
        ),
        Route(
            method="GET",
            path=TASKS,
            permission=READ_USER,
            handler=tasks.list_of_user,
            summary="List a user's delayed tasks.",
            query=TasksQuery,
            answers=page,
        ),
        Route(
            method="POST",
            path=TASKS,
            permission=WRITE_USER,
            handler=tasks.create,
            summary="Create a delayed task.",
            audited="put",
            body=TaskBody,
            answers={
                201: Example(OutcomeView, "It was created."),
                202: Example(OutcomeView, "It is kept; no worker answered yet."),
            },
            command=True,
            refusals=(412,),
        ),
        Route(
            method="GET",
            path=f"{TASKS}/{{task_id}}",
            permission=READ_USER,
            handler=tasks.get,
            summary="Show a delayed task; it is kept when it is over.",
            answers={200: Example(TaskView, "The task.")},
        ),
        Route(
            method="DELETE",
            path=f"{TASKS}/{{task_id}}",
            permission=WRITE_USER,
            handler=tasks.cancel,
            summary="Cancel a pending task.",
            audited="cancel",
            answers=ENDED,
            command=True,
        ),
    ]
