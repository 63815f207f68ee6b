"""The colours of states, by names that typer and rich both know; what is not named here has none of its own."""

from everwatch.model import State, Status

OF_STATUS = {Status.SUCCESS: "green", Status.FAILURE: "red", Status.LATE: "yellow", Status.SKIPPED: "bright_black"}
OF_STATE = {State.UP: "green", State.DOWN: "red", State.LATE: "yellow"}
