"""Routes of dead letters."""

from everwatch.api.bodies import RedriveBody
from everwatch.api.letters import Letters
from everwatch.api.queries import LettersQuery
from everwatch.api.routes.parts import ADMIN
from everwatch.api.routing import Example, Route
from everwatch.api.state_views import LettersView, LetterView, RedriveView


def dead_letter_routes(letters: Letters) -> list[Route]:
    """Return the routes of dead letters."""
    return [
        Route(
            method="GET",
            path="/v1/dead-letters",
            permission=ADMIN,
            handler=letters.list,
            summary="List refused records, the latest first, and count them by reason.",
            query=LettersQuery,
            answers={200: Example(LettersView, "A page of dead letters.")},
        ),
        Route(
            method="GET",
            path="/v1/dead-letters/{partition}/{offset}",
            permission=ADMIN,
            handler=letters.get,
            summary="Show a refused record.",
            answers={200: Example(LetterView, "The dead letter.")},
        ),
        Route(
            method="GET",
            path="/v1/dead-letters/{partition}/{offset}/original",
            permission=ADMIN,
            handler=letters.original,
            summary="Show a refused record whole, with its secrets, as its topic has it; takes the scope secrets, too.",
            answers={200: Example(LetterView, "The dead letter.")},
            is_patient=True,
        ),
        Route(
            method="POST",
            path="/v1/dead-letters/redrive",
            permission=ADMIN,
            handler=letters.redrive,
            summary="Send refused records back to where they came from, or say what would be sent.",
            audited="redrive",
            body=RedriveBody,
            answers={200: Example(RedriveView, "What became of each.")},
            is_patient=True,
        ),
    ]
