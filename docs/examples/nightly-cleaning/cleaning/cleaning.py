"""Removes old files from a folder."""

from pathlib import Path

DAY_S = 86_400


def clean_folder(arguments, context):
    """Remove the files in ``folder`` that were last changed ``older_than_days`` before the run was due."""
    oldest_s = context.scheduled_at / 1000 - arguments["older_than_days"] * DAY_S
    files = [path for path in Path(arguments["folder"]).iterdir() if path.is_file()]
    old = [path for path in files if path.stat().st_mtime < oldest_s]
    for path in old:
        path.unlink()
    return {"removed": len(old), "kept": len(files) - len(old)}
