"""Request that hands a message to a receiver."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Post:
    """One request: where it goes, its headers and body; ``is_final``: a status of 4xx is final for this message."""

    url: str
    headers: dict[str, str]
    body: bytes
    is_final: bool
