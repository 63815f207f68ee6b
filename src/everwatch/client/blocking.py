"""The client for programs without an event loop: the methods of ``AsyncClient``, run in a loop of a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from everwatch.client.api_calls import WAIT_S
from everwatch.client.async_client import AsyncClient
from everwatch.client.transport import PATIENCE_S

P = ParamSpec("P")
Value = TypeVar("Value")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Value]],
) -> Callable[Concatenate["Client", P], Value]:
    @wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Value:
        return self._run(method(self._client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncIterator[Value]],
) -> Callable[Concatenate["Client", P], Iterator[Value]]:
    @wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Value]:
        return self._iterated(method(self._client, *args, **kwargs))

    return call


class Client:
    """A client of the HTTP API that blocks; a context manager. Threads may share it; it does not survive a fork.

    Its arguments and methods are those of ``AsyncClient``, where they are described. A method that is interrupted
    (Ctrl-C) gives its request up.
    """

    def __init__(
        self, url: str, token: str = "", *, wait_s: float = WAIT_S, patience_s: float = PATIENCE_S, after: str = ""
    ) -> None:
        self._client = AsyncClient(url, token, wait_s=wait_s, patience_s=patience_s, after=after)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="everwatch client", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and end the thread."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def position(self) -> str:
        """Position of the last write, for another client that is to see it."""
        return self._client.position

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def _iterated(self, items: AsyncIterator[Value]) -> Iterator[Value]:
        try:
            while True:
                try:
                    item = self._run(_next(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if not self._loop.is_closed():
                self._run(_closed(items))

    get = _blocking(AsyncClient.get)
    page = _blocking(AsyncClient.page)
    users = _iterating(AsyncClient.users)
    user = _blocking(AsyncClient.user)
    tagged_user = _blocking(AsyncClient.tagged_user)
    put_user = _blocking(AsyncClient.put_user)
    change_user = _blocking(AsyncClient.change_user)
    delete_user = _blocking(AsyncClient.delete_user)
    purge_user = _blocking(AsyncClient.purge_user)
    purge = _blocking(AsyncClient.purge)
    pause_user = _blocking(AsyncClient.pause_user)
    resume_user = _blocking(AsyncClient.resume_user)
    maintain_user = _blocking(AsyncClient.maintain_user)
    monitors = _iterating(AsyncClient.monitors)
    monitor = _blocking(AsyncClient.monitor)
    put_monitor = _blocking(AsyncClient.put_monitor)
    change_monitor = _blocking(AsyncClient.change_monitor)
    delete_monitor = _blocking(AsyncClient.delete_monitor)
    pause_monitor = _blocking(AsyncClient.pause_monitor)
    resume_monitor = _blocking(AsyncClient.resume_monitor)
    maintain_monitor = _blocking(AsyncClient.maintain_monitor)
    run_monitor = _blocking(AsyncClient.run_monitor)
    incidents = _blocking(AsyncClient.incidents)
    shared_incidents = _blocking(AsyncClient.shared_incidents)
    acknowledge = _blocking(AsyncClient.acknowledge)
    withdraw_ack = _blocking(AsyncClient.withdraw_ack)
    snooze = _blocking(AsyncClient.snooze)
    incident = _blocking(AsyncClient.incident)
    acknowledge_incident = _blocking(AsyncClient.acknowledge_incident)
    withdraw_incident_ack = _blocking(AsyncClient.withdraw_incident_ack)
    snooze_incident = _blocking(AsyncClient.snooze_incident)
    resolve_incident = _blocking(AsyncClient.resolve_incident)
    comment_incident = _blocking(AsyncClient.comment_incident)
    routes = _blocking(AsyncClient.routes)
    delivery = _blocking(AsyncClient.delivery)
    notifications = _blocking(AsyncClient.notifications)
    send_operators_test = _blocking(AsyncClient.send_operators_test)
    ask_contacts = _blocking(AsyncClient.ask_contacts)
    deliveries = _blocking(AsyncClient.deliveries)
    channels = _blocking(AsyncClient.channels)
    contacts = _blocking(AsyncClient.contacts)
    verify_contact = _blocking(AsyncClient.verify_contact)
    send_test = _blocking(AsyncClient.send_test)
    replay_deliveries = _blocking(AsyncClient.replay_deliveries)
    silences = _blocking(AsyncClient.silences)
    preview_silence = _blocking(AsyncClient.preview_silence)
    create_silence = _blocking(AsyncClient.create_silence)
    end_silence = _blocking(AsyncClient.end_silence)
    spec_changes = _blocking(AsyncClient.spec_changes)
    next_runs = _blocking(AsyncClient.next_runs)
    explain = _blocking(AsyncClient.explain)
    timeline = _blocking(AsyncClient.timeline)
    timelines = _blocking(AsyncClient.timelines)
    latency = _blocking(AsyncClient.latency)
    validate_monitor = _blocking(AsyncClient.validate_monitor)
    try_monitor = _blocking(AsyncClient.try_monitor)
    try_change = _blocking(AsyncClient.try_change)
    facets = _blocking(AsyncClient.facets)
    preview_job = _blocking(AsyncClient.preview_job)
    create_job = _blocking(AsyncClient.create_job)
    start_audit = _blocking(AsyncClient.start_audit)
    audit_run = _blocking(AsyncClient.audit_run)
    audit_runs = _blocking(AsyncClient.audit_runs)
    import_rows = _iterating(AsyncClient.import_rows)
    jobs = _blocking(AsyncClient.jobs)
    job = _blocking(AsyncClient.job)
    job_errors = _blocking(AsyncClient.job_errors)
    cancel_job = _blocking(AsyncClient.cancel_job)
    export = _iterating(AsyncClient.export)
    tasks = _iterating(AsyncClient.tasks)
    count_tasks = _blocking(AsyncClient.count_tasks)
    task = _blocking(AsyncClient.task)
    create_task = _blocking(AsyncClient.create_task)
    cancel_task = _blocking(AsyncClient.cancel_task)
    results = _iterating(AsyncClient.results)
    transitions = _iterating(AsyncClient.transitions)
    audit = _iterating(AsyncClient.audit)
    dead_letters_page = _blocking(AsyncClient.dead_letters_page)
    dead_letters = _iterating(AsyncClient.dead_letters)
    dead_letter = _blocking(AsyncClient.dead_letter)
    dead_letter_original = _blocking(AsyncClient.dead_letter_original)
    redrive = _blocking(AsyncClient.redrive)
    live = _iterating(AsyncClient.live)
    tokens = _iterating(AsyncClient.tokens)
    roles = _blocking(AsyncClient.roles)
    me = _blocking(AsyncClient.me)
    create_token = _blocking(AsyncClient.create_token)
    revoke_token = _blocking(AsyncClient.revoke_token)
    operators = _blocking(AsyncClient.operators)
    put_operator = _blocking(AsyncClient.put_operator)
    remove_operator = _blocking(AsyncClient.remove_operator)
    create_login_link = _blocking(AsyncClient.create_login_link)
    signal = _blocking(AsyncClient.signal)
    ping_key = _blocking(AsyncClient.ping_key)
    batch = _blocking(AsyncClient.batch)
    outcome = _blocking(AsyncClient.outcome)
    overview = _blocking(AsyncClient.overview)
    counts = _blocking(AsyncClient.counts)
    plans = _blocking(AsyncClient.plans)
    lag = _blocking(AsyncClient.lag)
    partitions = _blocking(AsyncClient.partitions)
    workers = _blocking(AsyncClient.workers)
    database = _blocking(AsyncClient.database)
    topics = _blocking(AsyncClient.topics)
    diagnosis = _blocking(AsyncClient.diagnosis)
    badge = _blocking(AsyncClient.badge)
    status_page = _blocking(AsyncClient.status_page)
    status_pages = _blocking(AsyncClient.status_pages)
    hook = _blocking(AsyncClient.hook)
    user_metrics = _blocking(AsyncClient.user_metrics)
    saved_views = _blocking(AsyncClient.saved_views)
    save_view = _blocking(AsyncClient.save_view)
    delete_view = _blocking(AsyncClient.delete_view)


async def _next(items: AsyncIterator[Value]) -> Value:
    # the end of an iterator may not leave a coroutine as StopIteration would
    return await anext(items)


async def _closed(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
