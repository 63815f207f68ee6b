"""The peer in plain Faust: ``plain_faust.py`` as a process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.process import Peer, running
from everwatch.core.config import Settings

NAME = "plain Faust"
APPLICATION = "peer-faust"
TABLE = "users"
READY = "running {} partitions"

_REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def faust_peer(
    settings: Settings,
    bootstrap_servers: str,
    folder: Path,
    *,
    signups: str,
    ticks: str,
    partitions: int,
) -> Iterator[Peer]:
    """Run the plain Faust peer; it watches all partitions of ``signups`` when this returns.

    Both topics exist before; ``folder`` gets its state and its log. Raises PeerError if it does not start.
    ``settings`` says nothing to this peer; it is taken so that both peers are started alike.
    """
    del settings
    folder.mkdir(parents=True, exist_ok=True)
    module = "bench.peers.plain_faust"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        module,
        bootstrap_servers,
        folder,
        signups,
        ticks,
        str(partitions),
    ]
    ready = READY.format(partitions)
    # started in its own folder, from which the module would not be found
    variables = {"PYTHONPATH": str(_REPOSITORY)}
    changelog = f"{APPLICATION}-{TABLE}-changelog"
    with running(NAME, changelog, command, folder / "faust.log", ready, variables) as peer:
        yield peer
