"""Routes of silences."""

from everwatch.api.incident_views import Listed, SelectorBody, SilenceBody, SilencePreview
from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.queries import ShortList
from everwatch.api.routes.parts import READ_LIST
from everwatch.api.routing import Example, Route
from everwatch.api.silences import Silences
from everwatch.notifier.silences import AlertSilence

_KEPT = Example(AlertSilence, "It is kept; the notifier has not read it yet.")


def silence_routes(silences: Silences) -> list[Route]:
    """Return the routes of silences."""
    notify = Permission(Scope.NOTIFY, Reach.NARROWED)
    return [
        Route(
            method="GET",
            path="/v1/silences",
            permission=READ_LIST,
            handler=silences.list,
            summary="List silences that are on or ahead.",
            query=ShortList,
            answers={200: Example(Listed[AlertSilence], "The silences, the first to end first.")},
        ),
        Route(
            method="POST",
            path="/v1/silences/preview",
            permission=READ_LIST,
            handler=silences.preview,
            summary="Say which monitors and open incidents a silence would be about.",
            body=SelectorBody,
            answers={200: Example(SilencePreview, "How many there are, and some of them.")},
            is_patient=True,
        ),
        Route(
            method="POST",
            path="/v1/silences",
            permission=notify,
            handler=silences.create,
            summary="Send no alerts of the monitors that a selector has, for a while; checks go on.",
            audited="silence",
            body=SilenceBody,
            answers={201: Example(AlertSilence, "The silence."), 202: _KEPT},
            command=True,
            claims_key=True,
        ),
        Route(
            method="DELETE",
            path="/v1/silences/{silence_id}",
            permission=notify,
            handler=silences.end,
            summary="End a silence; alerts go out for what is still down.",
            audited="end_silence",
            answers={200: Example(AlertSilence, "The silence, which is over."), 202: _KEPT},
            command=True,
            claims_key=True,
        ),
    ]
