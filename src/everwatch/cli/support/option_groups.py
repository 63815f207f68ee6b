"""Groups of options that several commands have: a command takes a group as one argument."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


def with_options(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of each group in the place of its argument of that name.

    A group is a class whose parameters are annotated as those of a command are.
    """
    options = {name: inspect.signature(group).parameters for name, group in groups.items()}

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command)

        @wraps(command)
        def from_options(**values: Any) -> None:
            made = {name: groups[name](**{each: values.pop(each) for each in names}) for name, names in options.items()}
            command(**values, **made)

        shown: list[inspect.Parameter] = []
        for each in own.parameters.values():
            replaced = options[each.name].values() if each.name in groups else [each]
            shown += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in replaced]
        # typer makes options of what the signature says
        from_options.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return from_options

    return decorated
