"""Which host a tick's check goes to."""

import logging

from everwatch.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.model import Tick

log = logging.getLogger(__name__)

# users must not decide how much memory a host takes
_LONGEST_HOST = 253


def target_of(tick: Tick) -> str:
    """The host as its kind tells it, in lower case; "" if it goes to none, or its kind does not tell."""
    try:
        kind = registry.kind_named(tick.kind)
        tell = getattr(kind, "target", None)
        if tell is None:
            return ""
        host = tell(registry.parse_config(kind, tick.config))
        return host.lower().rstrip(".")[:_LONGEST_HOST]  # type: ignore[no-any-return]
    except InvalidInput:  # the check itself says what is wrong
        return ""
    except Exception as error:  # a kind, perhaps another's, may fail in any way
        log.debug("the kind '%s' does not tell its target: %s", tick.kind, error)
        return ""
