"""Paths of fields in JSON documents, as errors name them: ``$.monitors[0].config["a b"]``. Pure."""

import re

import orjson

FIELD_PATH = r'^\$(\.[\w-]{1,100}|\[[0-9]{1,6}\]|\["([^"\\]|\\.){1,128}"\])+\Z'
_STEP = re.compile(r'\.([\w-]+)|\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]')


def steps_of(path: str) -> list[str | int]:
    """Return the names and indices of a path that ``FIELD_PATH`` matches. Raises ValueError for a wrong escape."""
    return [name or (int(index) if index else orjson.loads(quoted)) for name, index, quoted in _STEP.findall(path)]
