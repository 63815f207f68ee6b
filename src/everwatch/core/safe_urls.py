"""URLs whose content no third party can change on the way. Pure."""

from urllib.parse import urlsplit


def is_safe_url(url: str) -> bool:
    """Tell whether no third party can change the content of a URL on the way: HTTPS, or HTTP on this machine."""
    try:
        found = urlsplit(url)
        has_port = found.port != 0  # ValueError of one that is none
    except ValueError:
        return False
    is_plain = not (found.username or found.password or found.fragment) and found.hostname and has_port
    is_loopback = found.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(is_plain) and (found.scheme == "https" or (found.scheme == "http" and is_loopback))
