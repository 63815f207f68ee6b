"""The age of the newest backup, for an alert: looked at once a minute, where a folder of backups is set."""

import asyncio
import logging
from math import isnan
from pathlib import Path

from everwatch.api.metrics import BACKUP
from everwatch.backup.newest import newest_backup

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 60.0


async def measure_backup(folder: Path) -> None:
    """Set when the newest backup was completed; keeps the value where the folder cannot be read: 0 from the start."""
    try:
        finished_at = await asyncio.to_thread(newest_backup, folder)
    except OSError as error:
        logger.warning("the folder of backups %s cannot be read: %s", folder, error.strerror)
        [family] = BACKUP.collect()
        if isnan(family.samples[0].value):
            # nothing is known of any backup: that is an alert too
            BACKUP.set(0)
        return
    BACKUP.set((finished_at or 0) / 1000)
