"""Warning of commands that copy topics: what they have left out, since no client can read it."""

from collections.abc import Sequence

import typer

from everwatch.backup.manifest import UnreadableOffsets

_MOST_SHOWN = 20


def warn_of_unreadable(found: Sequence[UnreadableOffsets], what: str) -> None:
    """Print on stderr how many batches cannot be read, and where they are; ``what``: "are not in it"."""
    if not found:
        return
    batches = "1 batch of records" if len(found) == 1 else f"{len(found)} batches of records"
    typer.secho(f"WARNING: {batches} cannot be read by any client, and {what}:", fg=typer.colors.RED, err=True)
    for each in found[:_MOST_SHOWN]:
        offsets = f"offsets {each.begin} to {each.end - 1}: {each.reason}"
        typer.secho(f"  {each.topic}, partition {each.partition}, {offsets}", fg=typer.colors.RED, err=True)
    if len(found) > _MOST_SHOWN:
        typer.secho(f"  and {len(found) - _MOST_SHOWN} more", fg=typer.colors.RED, err=True)
