"""The client for asyncio: one method for each thing that a program asks of the API."""

from everwatch.client.access_calls import AccessCalls
from everwatch.client.history_calls import HistoryCalls
from everwatch.client.job_calls import JobCalls
from everwatch.client.monitor_calls import MonitorCalls
from everwatch.client.notifier_calls import NotifierCalls
from everwatch.client.page_calls import PageCalls
from everwatch.client.system_calls import SystemCalls
from everwatch.client.user_calls import UserCalls


class AsyncClient(UserCalls, MonitorCalls, NotifierCalls, JobCalls, HistoryCalls, SystemCalls, AccessCalls, PageCalls):
    """A client of the HTTP API at ``url``, for one event loop; an async context manager.

    Every method raises ApiError for what the API refuses or cannot serve. A request that may be repeated is, for up to
    ``patience_s``: reads, and commands, which the server carries out once for each ``command_id`` (each gets a new one
    unless it is given). Of lists ``limit`` is the size of a page; iterating goes through all pages.

    Writes wait up to ``wait_s`` (at most 30) for a worker. An OutcomeView whose ``answer`` is None is kept on Kafka and
    not carried out yet; ask ``outcome`` later. Reads see what this client has written before.
    """
