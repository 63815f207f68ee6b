"""Fixtures of the modules that test the console in a browser; tests/conftest.py makes them known."""

from collections.abc import AsyncIterator

import pytest_asyncio

from support.console_browser import Console, console_in_browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started_console() -> AsyncIterator[Console]:
    """One server and one browser for all tests of a module."""
    async with console_in_browser() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def console(started_console: Console) -> AsyncIterator[Console]:
    """The console; a test fails if a page that it opened reported an error or a violation of the policy."""
    started_console.reported.clear()
    yield started_console
    assert not started_console.reported
