"""Both event loops that an executor may run on, for tests of what opens sockets: import ``event_loop_policy``."""

import asyncio

import pytest
import uvloop


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Each test of the module runs on either loop."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy
