"""Writes tests/data/golden/api-v1.json: what clients of ``/v1`` rely on.

Run it with each release: ``uv run python .ci/api_v1.py``. It refuses to forget what is there.
"""

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "data" / "golden" / "api-v1.json"
sys.path.insert(0, str(ROOT / "tests"))


async def main() -> None:
    """Compare the document with the file, and write the file anew."""
    from support.api import api
    from support.api_shape import broken, shape_of

    async with api() as running:
        document = (await running.call("GET", "/openapi.json", token=None)).json
    shape = shape_of(document)
    if GOLDEN.exists() and (lost := list(broken(json.loads(GOLDEN.read_text()), shape))):
        raise SystemExit("/v1 stays compatible:\n" + "\n".join(lost))
    GOLDEN.write_text(json.dumps(shape, indent=1, sort_keys=True) + "\n")


asyncio.run(main())
