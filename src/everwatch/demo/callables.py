"""Callables of the demo's monitors of the kind ``python``; an entry point of this package names them."""

from typing import Any

from everwatch.kinds.callable_interface import CallContext


def showcase_orders(arguments: dict[str, Any], context: CallContext) -> dict[str, int]:  # noqa: ARG001  (all are given two)
    """Looks at ``waiting``, a made-up number of orders: fine up to ``most``. It reads and changes nothing."""
    waiting, most = int(arguments["waiting"]), int(arguments["most"])
    if waiting > most:
        raise RuntimeError(f"{waiting} orders wait to be packed, {most} may")
    return {"waiting": waiting}
