"""Two tenants on one broker: the same user in both, and nothing of one reaches the other (docs/tenants.md)."""

from itertools import pairwise

import orjson
import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import Pipeline, every
from support.waiting import wait_until

from everwatch.encoding import codec
from everwatch.model import Result, State, Transition

pytestmark = pytest.mark.integration
USER = "u-1"


def results(tenant: Pipeline) -> list[Result]:
    """Results of the user on the topic of a tenant, by instant."""
    found = [codec.decode_result(message.value()) for message in tenant.read(tenant.topics.results)]
    return sorted(found, key=lambda result: result.scheduled_at)


def transitions(tenant: Pipeline) -> list[Transition]:
    """Changes of state on the topic of a tenant."""
    return [codec.decode_transition(message.value()) for message in tenant.read(tenant.topics.transitions)]


def test_two_prefixes_side_by_side_share_nothing_but_the_broker(new_pipeline: NewPipeline) -> None:
    acme, globex = new_pipeline(standby_replicas=0), new_pipeline(standby_replicas=0, partitions=2)
    tenants = {"acme": acme, "globex": globex}
    for tenant in tenants.values():
        tenant.ensure("worker")
    for name, tenant in tenants.items():
        tenant.wait_until_watched()
        tenant.sign_up(USER, every("same", "noop", "1s"), every(f"only-{name}", "noop", "1s"))
    for name, tenant in tenants.items():
        wait_until(
            f"both monitors of {name} have run twice",
            lambda name=name, tenant=tenant: all(
                sum(result.monitor_id == each for result in results(tenant)) >= 2 for each in ("same", f"only-{name}")
            ),
        )

    acme.command("pause", USER, "same")
    wait_until("it is paused", lambda: any(each.to_state is State.PAUSED for each in transitions(acme)))
    paused_at = max(each.at for each in transitions(acme) if each.to_state is State.PAUSED)
    wait_until(
        "the other tenant's monitor of that name goes on",
        lambda: sum(r.monitor_id == "same" and r.scheduled_at > paused_at for r in results(globex)) >= 3,
    )

    assert not [r for r in results(acme) if r.monitor_id == "same" and r.scheduled_at > paused_at]
    assert not any(each.to_state is State.PAUSED for each in transitions(globex))
    for name, tenant in tenants.items():
        assert {result.monitor_id for result in results(tenant)} == {"same", f"only-{name}"}
        # one every second: none twice, as if a worker of the other tenant had run it too
        instants = [r.scheduled_at for r in results(tenant) if r.monitor_id == f"only-{name}"]
        assert {later - earlier for earlier, later in pairwise(instants)} == {1_000}

    said = run("lag", "--json", environment=acme.environment)
    rows = [orjson.loads(line) for line in said.stdout.splitlines()]
    assert {row["topic"].startswith(acme.settings.topic_prefix) for row in rows} == {True}, said.stderr
    workers = {row["client_id"] for row in rows if row["process"] == "worker" and row["client_id"]}
    assert len(workers) == 1
