"""The kind ``noop``: always well. For measuring what everything but the check costs."""

from typing import Literal

import msgspec

from everwatch.kinds.protocol import InlineView
from everwatch.model import Outcome, Status

_WELL = Outcome(Status.SUCCESS)


class NoopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to configure."""


class NoopKind:
    """Does nothing, successfully."""

    name = "noop"
    config_type = NoopConfig
    default_schedule_ms = 60_000

    @property
    def inline(self) -> Literal[True]:
        return True

    def judge(self, config: NoopConfig, view: InlineView, at: int) -> Outcome:  # noqa: ARG002  (the names are the protocol's)
        return _WELL
