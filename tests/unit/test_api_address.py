"""The address of the API: its own port, or a free one for who may take any."""

import asyncio
import socket

import pytest
from support.waiting import PATIENCE

from everwatch.api.address import address_of, bound_socket
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError


def test_a_port_that_is_taken_is_told_or_a_free_one_is_taken() -> None:
    with bound_socket(load_settings(api_port=0)) as taken:
        settings = load_settings(api_port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="EVERWATCH_API_PORT"):
            bound_socket(settings)
        with bound_socket(settings, or_free=True) as free:
            assert free.getsockname()[1] not in (0, settings.api_port)
            assert address_of(free) == f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("host", ["a..b", "ä" * 70])
def test_an_address_that_cannot_be_listened_on_is_told(host: str) -> None:
    with pytest.raises(SettingsError, match="EVERWATCH_API_HOST"):
        bound_socket(load_settings(api_host=host, api_port=0))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such limit")
async def test_a_client_that_reads_nothing_of_its_answer_is_cut_off() -> None:
    ended = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"x" * 50_000_000)
            await writer.drain()
        except OSError:
            pass
        finally:  # there is more than two kernels hold: nothing but an end of the connection leads here
            ended.set()

    sock = bound_socket(load_settings(api_port=0), unread_ms=300)
    async with await asyncio.start_server(answer, sock=sock):
        with socket.create_connection(sock.getsockname()):
            async with asyncio.timeout(60 * PATIENCE):
                await ended.wait()
