"""The peer of the executor: Prometheus' blackbox_exporter, as its Debian package installs it."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.peers.process import Peer, PeerError, running

NAME = "blackbox_exporter"
_PROGRAMS = ("prometheus-blackbox-exporter", "blackbox_exporter")
_READY = "Listening on"
# what its own documentation calls the plain module: any 2xx answer, timings by phase; it keeps no connection
_CONFIG = """\
modules:
  http_2xx:
    prober: http
    timeout: 10s
    http:
      preferred_ip_protocol: ip4
"""


@dataclass(frozen=True)
class Blackbox:
    """The exporter as it runs, and where it is asked."""

    peer: Peer
    address: str

    def probe_url(self, url: str) -> str:
        """Path of a scrape that has ``url`` probed."""
        return f"{self.address}/probe?{urlencode({'module': 'http_2xx', 'target': url})}"


@contextmanager
def blackbox(folder: Path) -> Iterator[Blackbox]:
    """Run the exporter with its files in ``folder``. Raises PeerError if it is not installed or does not start."""
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise PeerError("it is not installed (Debian package prometheus-blackbox-exporter)")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "blackbox.yml"
    config.write_text(_CONFIG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command: list[str | Path] = [
        program,
        f"--config.file={config}",
        f"--web.listen-address={address}",
        # pages of the last probes are for people who look at them
        "--history.limit=1",
    ]
    with running(NAME, "", command, folder / "blackbox.log", _READY) as peer:
        yield Blackbox(peer, f"http://{address}")
