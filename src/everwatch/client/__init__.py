"""A client of the HTTP API: ``AsyncClient`` for asyncio, ``Client`` for everything else.

Its arguments and results are of the types that the server validates with. It needs no Kafka and no database.
"""

from everwatch.client.async_client import AsyncClient
from everwatch.client.blocking import Client
from everwatch.client.errors import ApiError
from everwatch.client.event_stream import LiveEvent

__all__ = ["ApiError", "AsyncClient", "Client", "LiveEvent"]
