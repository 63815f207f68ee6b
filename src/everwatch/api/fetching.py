"""Fetches JSON documents from servers that the operator has named: an identity provider, the keys of a product.

The addresses are settings, or come from a document at such an address, so the guard of checks is not asked: it is for
addresses that users name, and identity providers are often at private ones. No redirect is followed and no proxy used.
"""

import ssl
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

WITHIN_S = 5.0
LARGEST_BYTES = 256_000
_CHUNK = 65_536


class FetchFailed(Exception):
    """A document that could not be had; the text says why and holds nothing of the request."""


class FetchedDocument(NamedTuple):
    """An answer: its status, and the JSON object that is its body ({} if there is none)."""

    status: int
    document: dict[str, Any]


class Fetcher:
    """Fetches documents. ``ca_file``: authorities to trust; None for those that OpenSSL knows."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file

    async def get(self, url: str, *, token: str = "") -> FetchedDocument:
        """Return what a GET is answered with; ``token``: a bearer token. Raises FetchFailed."""
        return await self._fetch("GET", url, {"Authorization": f"Bearer {token}"} if token else {}, None)

    async def post(self, url: str, form: str, headers: Mapping[str, str]) -> FetchedDocument:
        """Return what a POST of an encoded form is answered with. Raises FetchFailed."""
        return await self._fetch("POST", url, {"Content-Type": "application/x-www-form-urlencoded", **headers}, form)

    async def _fetch(self, method: str, url: str, headers: Mapping[str, str], form: str | None) -> FetchedDocument:
        given = {"Accept": "application/json", **headers}
        timeout = aiohttp.ClientTimeout(total=WITHIN_S)
        try:
            # rare enough for a connection of its own, which nothing has to close at the end
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(
                    method, url, data=form, headers=given, allow_redirects=False, ssl=self._tls
                ) as response,
            ):
                data = await _read(response, url)
                status = response.status
        except TimeoutError:
            raise FetchFailed(f"{url} does not answer within {WITHIN_S:g} s") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise FetchFailed(f"{url} cannot be reached: {_reason_of(error)}") from None
        return FetchedDocument(status, _object(data, status, url))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # OSError of a file that cannot be read is reported like that of a connection
        return ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > LARGEST_BYTES:
            raise FetchFailed(f"{url} answers with more than {LARGEST_BYTES} bytes")
    return bytes(data)


def _object(data: bytes, status: int, url: str) -> dict[str, Any]:
    """The JSON object of a body. Raises FetchFailed where one is needed and there is none."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if status == 200:
            raise FetchFailed(f"{url} answers with something other than a JSON object") from None
        return {}


def _reason_of(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error.strerror or error.os_error)
    return str(error) or type(error).__name__
