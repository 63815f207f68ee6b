"""An installation with users in several states, for tests that copy all of it."""

from collections.abc import Sequence

from support.pipeline import Pipeline, every
from support.target import Target
from support.waiting import wait_until


def populate(made: Pipeline, target: Target, users: Sequence[str]) -> Pipeline:
    """Run a worker, an executor and a sink with checks, inline monitors, a paused one, and a user that is gone."""
    made.ensure("worker", "executor", "sink")
    made.wait_until_ready()
    for user in users:
        made.sign_up(user, every("site", "http", url=target.url("/ok")), every("inline", "noop"))
    made.sign_up("gone", every("inline", "noop"))
    # commands for users that are not there yet are refused
    for user in users:
        made.wait_for_results(user, "site", 2)
    made.wait_for_states("gone", inline="up")
    made.command("pause", users[0], "inline")
    made.command("delete", users[1], "inline")
    made.command("deregister", "gone")
    made.wait_for_states(users[0], site="up", inline="paused")
    made.wait_for_states(users[1], site="up")
    wait_until("the user is gone", lambda: made.reader.user("gone") is None)
    return made
