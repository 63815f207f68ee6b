"""Egress of checks: the default authorities and the proxy.

Only settings say so: what the environment says to libraries (``http_proxy``) would lead past the guard.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

import yarl

from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.core.setting_conversion import Network

_PORT = 8080


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT (RFC 9110, 9.3.6); addresses within ``direct`` are reached without it."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    direct: tuple[Network, ...] = ()

    def is_for(self, address: str) -> bool:
        """Tell whether the way to ``address`` leads through it."""
        target = ip_address(address.partition("%")[0])
        return not any(target in network for network in self.direct)

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


@dataclass(frozen=True)
class Egress:
    """``ca_file``: PEM file of the authorities that are trusted; "" for OpenSSL's own, the system's mostly."""

    ca_file: str = ""
    proxy: Proxy | None = None


def outgoing_of(settings: Settings) -> Egress:
    """Return what the settings say. Raises SettingsError."""
    file = settings.ca_file
    if file is not None and not file.is_file():
        raise SettingsError(f"setting EVERWATCH_CA_FILE: there is no file {file}")
    url = settings.proxy.get_secret_value()
    return Egress(str(file or ""), _proxy_of(url, settings.proxy_except) if url else None)


def _proxy_of(text: str, direct: tuple[Network, ...]) -> Proxy:
    # no sentence here may quote the value: it may hold a password
    try:
        url = yarl.URL(text)
        port = url.explicit_port or _PORT
    except ValueError:
        raise SettingsError("setting EVERWATCH_PROXY: not a URL such as http://proxy.example:3128") from None
    if url.scheme != "http" or not url.raw_host or url.raw_path not in ("", "/"):
        raise SettingsError("setting EVERWATCH_PROXY: only a URL such as http://[user:password@]proxy.example:3128")
    return Proxy(url.raw_host, port, unquote(url.raw_user or ""), unquote(url.raw_password or ""), direct)
