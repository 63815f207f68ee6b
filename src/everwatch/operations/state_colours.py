"""States for people: words, and colours by names that typer and rich both know."""

from everwatch.model import State, Status

OF_STATUS = {Status.SUCCESS: "green", Status.FAILURE: "red", Status.LATE: "yellow", Status.SKIPPED: "bright_black"}
OF_STATE = {State.UP: "green", State.DOWN: "red", State.LATE: "yellow"}


def state_words(state: State, outcome: Status | None) -> str:
    """Return a state as people read it: of one that is done with how its last run ended, if that is no success."""
    return state.value if outcome in (None, Status.SUCCESS) else f"{state.value} ({outcome})"
