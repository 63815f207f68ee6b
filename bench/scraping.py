"""Scrapes of the peer exporter, many at once, from a process of its own: as Prometheus would, it reads every answer."""

import asyncio
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized

import aiohttp
import uvloop

_SUCCESS = b"\nprobe_success 1\n"


class Scrapes:
    """Number of probes that have ended, and of those that succeeded."""

    def __init__(self, ended: "Synchronized[int]", succeeded: "Synchronized[int]") -> None:
        self._ended, self._succeeded = ended, succeeded

    @property
    def ended(self) -> int:
        """Answers read."""
        return self._ended.value

    @property
    def succeeded(self) -> int:
        """Answers that said so."""
        return self._succeeded.value


@contextmanager
def scraping(url: str, probes: int, at_once: int) -> Iterator[Scrapes]:
    """Ask ``url`` ``probes`` times, ``at_once`` of them on kept connections of their own, until done or left."""
    context = multiprocessing.get_context("spawn")
    ended, succeeded = context.Value("q", 0, lock=False), context.Value("q", 0, lock=False)
    arguments = (url, probes, at_once, ended, succeeded)
    process = context.Process(target=_run, args=arguments, daemon=True, name="bench-scraper")
    process.start()
    try:
        yield Scrapes(ended, succeeded)
    finally:
        process.terminate()
        process.join()


def _run(url: str, probes: int, at_once: int, ended: "Synchronized[int]", succeeded: "Synchronized[int]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    left = iter(range(probes))

    async def scrape_on(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.get(url) as response:
                page = await response.read()
            succeeded.value += _SUCCESS in page
            ended.value += 1

    async def scrape() -> None:
        # compressed pages would be dearer for the exporter
        plain = {"Accept-Encoding": "identity"}
        connector = aiohttp.TCPConnector(limit=at_once)
        async with aiohttp.ClientSession(connector=connector, headers=plain) as session:
            await asyncio.gather(*(scrape_on(session) for _ in range(at_once)))

    uvloop.run(scrape())
