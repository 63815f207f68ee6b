"""A process that has imported the libraries and forks others, each of which runs a module: ``fork_server.py SOCKET``.

It imports none of Everwatch's own modules and makes no thread, event loop, client or database, which it checks before
each fork: a child imports all of Everwatch itself, and begins as ``python -m MODULE`` does in each thing that a process
can tell (arguments, environment, folder, path of imports, umask, session, standard streams, signals, seeds).

A request is one message: a document and the child's stdin, stdout, stderr and a pipe. On the pipe the child's id comes
first, and its status, as waitpid has it, when it has ended. The server ends when the other end of its socket closes.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, TextIO

# whichever of them a process needs: without typer.rich_utils, which reads the environment
LIBRARIES = (
    "aiohttp.web",
    "aiokafka",
    "aiosmtplib",
    "alembic.command",
    "confluent_kafka.admin",
    "cramjam",
    "cronsim",
    "cryptography.hazmat.primitives.ciphers.aead",
    "fastavro",
    "faust.app",
    "faust.stores.rocksdb",
    "faust.tables.globaltable",
    "faust.tables.manager",
    "faust.transport.drivers.aiokafka",
    "faust.worker",
    "intervaltree",
    "joserfc.jwt",
    "msgspec",
    "orjson",
    "prometheus_client",
    "psutil",
    "pycurl",
    "re2",
    "rich.markdown",
    "rich.progress",
    "rich.table",
    "rocksdict",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "sqlite3",
    "standardwebhooks",
    "structlog",
    "terminaltables",
    "typer",
    "uvloop",
)
NUMBER_BYTES = 4
LARGEST_REQUEST = 1 << 20


def serve(client: socket.socket) -> Mapping[str, Any]:
    """Fork a child for each request; returns in the child, with the request. Ends when the client has gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        own = {0, 1, 2, client.fileno(), selector.fileno()}
        running: dict[int, tuple[int, int]] = {}  # by the descriptor that becomes readable at its end
        while True:
            for key, _ in selector.select():
                if key.fileobj is not client:
                    selector.unregister(key.fd)
                    pid, pipe = running.pop(key.fd)
                    os.close(key.fd)
                    _say(pipe, os.waitpid(pid, 0)[1])
                    os.close(pipe)
                    continue
                message, given, _, _ = socket.recv_fds(client, LARGEST_REQUEST, 4)
                if not message:
                    sys.exit()
                *streams, pipe = given
                _expect_nothing_to_inherit(own | set(given) | running.keys() | _pipes(running))
                pid = os.fork()
                if not pid:
                    _take_streams(streams)
                    return json.loads(message)
                for stream in streams:
                    os.close(stream)
                _say(pipe, pid)
                watched = os.pidfd_open(pid)
                running[watched] = pid, pipe
                selector.register(watched, selectors.EVENT_READ)


def _take_streams(streams: Sequence[int]) -> None:
    """Make these descriptors standard input, output and error."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)


def become(request: Mapping[str, Any]) -> None:
    """Make this process what an interpreter is that has just been started so."""
    # all that is the server's, and the pipes of other children
    os.closerange(3, max(_descriptors()) + 1)
    if request["new_session"]:
        os.setsid()
    else:
        os.setpgid(0, request["group"])
    os.umask(request["umask"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.path.insert(0, request["folder"])
    sys.argv = ["-m", *request["arguments"]]  # the first becomes the file of the module
    sys.stdin = sys.__stdin__ = _reopened(sys.stdin, "rb")
    sys.stdout = sys.__stdout__ = _reopened(sys.stdout, "wb")
    sys.stderr = sys.__stderr__ = _reopened(sys.stderr, "wb")


def _reopened(stream: TextIO, mode: str) -> TextIOWrapper:
    """A stream of what its descriptor is now."""
    return TextIOWrapper(
        open(stream.fileno(), mode, closefd=False),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )


def _say(pipe: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for this child any more
        os.write(pipe, number.to_bytes(NUMBER_BYTES, "big"))


def _pipes(running: Mapping[int, tuple[int, int]]) -> set[int]:
    return {pipe for _, pipe in running.values()}


def _descriptors() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that listed them
            os.fstat(int(name))
            found.add(int(name))
    return found


def _expect_nothing_to_inherit(known: set[int]) -> None:
    """Refuse to fork what a child must not have: a thread, a connection, an open file, a module of Everwatch."""
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads"
    assert not (found := _descriptors() - known), f"open descriptors: {sorted(found)}"
    ours = [name for name in sys.modules if name.partition(".")[0] in ("everwatch", "streams", "support")]
    assert not ours, f"imported: {ours}"
    begun_with = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
    handled = [number for number in signal.valid_signals() if signal.getsignal(number) not in begun_with]
    assert not handled, f"handlers of {handled}"


def main() -> None:
    """Import the libraries and serve."""
    client = socket.socket(fileno=int(sys.argv[1]))
    # the folder of this file: its names are nothing that a process may import
    del sys.path[0]
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    request = serve(client)
    client.detach()
    become(request)
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
