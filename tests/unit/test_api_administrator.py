"""The first administrator of an API: on loopback by the link and the token that it prints, elsewhere refused."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from support.waiting import PATIENCE

from everwatch.api.address import bound_socket
from everwatch.api.process import Api
from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics

TOKEN = "ew_a_" + "x" * 43
EVERYWHERE = "0.0.0.0"


def made(folder: Path, said: list[str], **more: Any) -> Api:
    """The process on an empty Kafka in memory; ``said`` gets what it prints."""
    settings = load_settings(data_dir=folder, api_port=0, **more)
    kafka = MemoryKafka()
    for topic in Topics.of(settings).all:
        kafka.create(topic)
    return Api(settings, "", SystemClock(), bound_socket(settings), said.append, MemoryClients(kafka))


async def led_to(http: aiohttp.ClientSession, link: str) -> str:
    async with http.get(link, allow_redirects=False) as answer:
        return answer.headers["Location"]


async def test_what_it_prints_where_there_is_no_administrator_lets_one_in(tmp_path: Path) -> None:
    said: list[str] = []
    process = made(tmp_path, said)
    browser = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
    async with asyncio.timeout(60 * PATIENCE), browser, aiohttp.ClientSession() as program:
        await process.start()
        try:
            console, api, token = said
            link, address = console.split()[1], api.removeprefix("API: ")
            assert urlsplit(link).netloc == urlsplit(address).netloc
            while await led_to(browser, link) != "/console/":  # until the process has read it
                await asyncio.sleep(0.01)
            async with browser.get(f"{address}/v1/me") as me:
                assert (await me.json())["role"] == "admin"
            assert await led_to(browser, link) != "/console/", "it opens once"
            given = {"Authorization": f"Bearer {token.rpartition(' ')[2]}"}
            async with program.get(f"{address}/v1/tokens", headers=given) as tokens:
                assert tokens.status == 200
        finally:
            await process.stop()


async def test_it_does_not_start_where_others_reach_it_and_nobody_administers_it(tmp_path: Path) -> None:
    said: list[str] = []
    process = made(tmp_path, said, api_host=EVERYWHERE)
    async with asyncio.timeout(60 * PATIENCE):
        try:
            with pytest.raises(SettingsError, match=r"would listen on 0\.0\.0\.0, and there is no administrator"):
                await process.start()
        finally:
            await process.stop()
    assert said == []


async def test_with_a_token_of_an_administrator_it_starts_anywhere_and_prints_no_secret(tmp_path: Path) -> None:
    said: list[str] = []
    process = made(tmp_path, said, api_host=EVERYWHERE, api_admin_token=TOKEN)
    async with asyncio.timeout(60 * PATIENCE):
        await process.start()
        await process.stop()
    assert [line.partition(":")[0] for line in said] == ["Console", "API"]
    assert "everwatch api-token login-link" in said[0]
    assert "ew_" not in "".join(said)
