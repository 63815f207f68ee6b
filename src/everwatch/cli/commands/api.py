"""``everwatch api``: the HTTP API."""

import socket
from typing import Annotated

import typer

from everwatch.api.address import bound_socket
from everwatch.cli.commands.processes import StopWithParent
from everwatch.cli.support.options import Bootstrap, DataDir, ready_broker, settings_of
from everwatch.core.clock import SystemClock
from everwatch.kafka.process_rights import ProcessRole


def api(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [env: EVERWATCH_API_HOST]", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port; 0: a free one. [env: EVERWATCH_API_PORT]", show_default="8470"),
    ] = None,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    socket_fd: Annotated[int | None, typer.Option("--socket-fd", hidden=True)] = None,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run the HTTP API: users, monitors, tasks, pings and signals for programs. Start more behind a load balancer.

    On 127.0.0.1, where it listens by default, it prints a token for this run if no administrator has one. For any other
    address make one first with `everwatch api-token create`.

    Examples: `everwatch api` · `everwatch api --host 0.0.0.0 --port 8470` ·
    `curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8470/v1/users`
    """
    from everwatch.api.process import Api  # aiohttp and SQLAlchemy take a while to import
    from everwatch.processes import run_process

    settings = settings_of(data_dir, bootstrap_servers, api_host=host, api_port=port)
    # an address that cannot be used is an error before a broker is looked for
    sock = bound_socket(settings) if socket_fd is None else socket.socket(fileno=socket_fd)
    settings, bootstrap = ready_broker(settings, ProcessRole.API)
    run_process(Api(settings, bootstrap, SystemClock(), sock, typer.echo), stop_with_parent=stop_with_parent)
