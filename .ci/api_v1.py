"""Writes tests/data/golden/api-v1.json: what clients of ``/v1`` rely on, and who may use each operation.

Run it with each release, each new operation and each change of a permission: ``uv run python .ci/api_v1.py``. It
refuses to forget what is there, and says which permissions differ from those that were there: a person looks at them.
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
    from support.api_shape import broken, other_permissions, shape_of

    async with api() as running:
        document = (await running.call("GET", "/openapi.json", token=None)).json
    shape = shape_of(document)
    if GOLDEN.exists():
        before = json.loads(GOLDEN.read_text())
        if lost := list(broken(before, shape)):
            raise SystemExit("/v1 stays compatible:\n" + "\n".join(lost))
        sys.stdout.writelines(f"{each}\n" for each in other_permissions(before, shape))
    GOLDEN.write_text(json.dumps(shape, indent=1, sort_keys=True) + "\n")


asyncio.run(main())
