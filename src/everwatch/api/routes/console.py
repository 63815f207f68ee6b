"""Routes of the console's files."""

from everwatch.api.console_routes import CONSOLE, ConsoleRoutes
from everwatch.api.permissions import OPEN
from everwatch.api.routing import Example, Route


def console_routes(console: ConsoleRoutes) -> list[Route]:
    """The pages of the console: for browsers, so they are not in the document."""
    return [
        Route(
            method="GET",
            path=CONSOLE.removesuffix("/"),
            permission=OPEN,
            handler=console.enter,
            summary="Go to the console.",
            answers={308: Example(None, "It is there.")},
            documented=False,
            any_query=True,
        ),
        Route(
            method="GET",
            path=f"{CONSOLE}{{path:.*}}",
            permission=OPEN,
            handler=console.file,
            summary="A file of the console, or its page.",
            answers={200: Example(bytes, "The file.")},
            documented=False,
            any_query=True,
        ),
    ]
