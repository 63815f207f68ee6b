"""Classes of failure reasons, for metrics: a sentence says everything, and a series must not be one of thousands."""

import re
from functools import lru_cache

OTHER = "other"

_CLASSES = {
    # the words of targets could imitate those that come last
    "internal": (r"^internal error",),
    "forbidden": (
        r"^target .* is not an IP address",
        r"^target .* which checks may not reach",
        r"^topic .* not allowed",
    ),
    "proxy": (r"^the outgoing proxy",),
    "timeout": (r"^no answer within", r"does not (?:accept the connection|answer)$", r"^took \d+ ms", r"sent nothing"),
    "name": (r"^name .* (?:does not resolve|could not be looked up|has no address)",),
    "refused": (r"^(?:name server: )?connection refused by", r"connection refused$"),
    "closed": (r"^(?:name server: )?connection closed", r"^the answer broke off"),
    "unreachable": (r"^(?:name server: )?no (?:route|connection) to",),
    "tls": (r"^TLS handshake", r"^(?:the )?certificate of", r"\bclient certificate\b", r"^no certificate"),
    "status": (r"^status \d+",),
    "dns": (
        r"^(?:the )?\S+ records? of ",
        r"^\S+ has (?:no|\d+) \S+ records?",
        r"^\S+ is an alias",
        r"\((?:SERVFAIL|REFUSED|NOTIMP)\)$",
    ),
    "content": (
        r"^(?:the )?(?:first \d+ KiB of the )?body",
        r"^the JSON of the body",
        r", expected ",
        r"does not (?:contain|match|start)",
    ),
}
_PATTERN = re.compile("|".join(f"(?P<{name}>{'|'.join(patterns)})" for name, patterns in _CLASSES.items()))

_MOST_LOOKED_AT = 1_000

FAILURE_CLASSES = (*_CLASSES, OTHER)
"""All classes there are."""


def failure_class(reason: str) -> str:
    """Return the class of a failed check's reason, one of ``FAILURE_CLASSES``."""
    return _class_of(reason[:_MOST_LOOKED_AT])


# asked for twice for each failure; to find that a long sentence is of no class takes a hundred times as long as to know
@lru_cache(maxsize=256)
def _class_of(reason: str) -> str:
    found = _PATTERN.search(reason)
    return found.lastgroup or OTHER if found else OTHER
