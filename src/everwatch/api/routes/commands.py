"""Routes of commands' outcomes, of batches and of imports."""

from everwatch.api.batch import BODY_LIMIT as BATCH_LIMIT
from everwatch.api.batch import NDJSON, Batches
from everwatch.api.commands_route import CommandOutcomes
from everwatch.api.import_stream import ImportStream
from everwatch.api.import_views import ImportQuery, ImportView
from everwatch.api.importing import OCTETS, ImportRoutes
from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.queries import CommandQuery
from everwatch.api.routes.parts import READ_LIST, READ_USER, USER
from everwatch.api.routing import Example, Route
from everwatch.api.views import OutcomeView


def command_routes(
    outcomes: CommandOutcomes, batch: Batches, imports: ImportRoutes, stream: ImportStream
) -> list[Route]:
    """Return the routes of commands' outcomes, of batches and of imports."""
    found = {200: Example(OutcomeView, "Its outcome.")}
    return [
        Route(
            method="GET",
            path="/v1/commands/{command_id}",
            permission=READ_LIST,
            handler=outcomes.find,
            summary="Show what became of a command: the Location of a 202 leads here.",
            query=CommandQuery,
            answers=found,
        ),
        Route(
            method="GET",
            path=f"{USER}/commands/{{command_id}}",
            permission=READ_USER,
            handler=outcomes.get,
            summary="Show what became of a command of a user.",
            answers=found,
        ),
        Route(
            method="POST",
            path="/v1/batch",
            permission=Permission(Scope.WRITE, Reach.NARROWED),
            handler=batch.post,
            summary="Carry out up to 10,000 commands, one a line, as on the topic commands; also signup and signal.",
            audited="batch",
            notes=True,
            raw=True,
            body_limit=BATCH_LIMIT,
            accepts=NDJSON,
            media_type=NDJSON,
            answers={207: Example(bytes, "A line for each command: its status and outcome.")},
            command=True,
        ),
        Route(
            method="POST",
            path="/v1/import",
            permission=Permission(Scope.WRITE, Reach.NARROWED),
            handler=imports.post,
            summary="Judge or import up to 10,000 rows of a file, CSV or JSON lines, as 'everwatch import' reads it.",
            audited="import",
            notes=True,
            query=ImportQuery,
            raw=True,
            body_limit=BATCH_LIMIT,
            accepts=OCTETS,
            answers={200: Example(ImportView, "How many rows were accepted, and which were refused and why.")},
            command=True,
            is_patient=True,
        ),
        Route(
            method="POST",
            path="/v1/imports",
            permission=Permission(Scope.WRITE, Reach.NARROWED),
            handler=stream.post,
            summary="Judge or import the rows of a file of any length, CSV or JSON lines, while it is sent.",
            audited="import",
            notes=True,
            query=ImportQuery,
            raw=True,
            streams=True,
            accepts=OCTETS,
            media_type=NDJSON,
            answers={200: Example(bytes, "A line for each refused row, and one with the numbers at the end.")},
            command=True,
        ),
    ]
