"""The file of plans as a worker follows it: taken anew when it changes, and left aside while it is wrong."""

import logging
from collections.abc import Collection
from pathlib import Path

from everwatch.core.errors import EverwatchError, SettingsError, WrongPlans
from everwatch.plans.metrics import PLANS_OK
from everwatch.plans.plan import Plans
from everwatch.plans.plans_parser import Stamp, plans_of, read_file

logger = logging.getLogger(__name__)


def read_plans(path: Path, regions: Collection[str] | None = None) -> tuple[Plans, Stamp]:
    """The plans of the setting EVERWATCH_PLANS_FILE, and the stamp of the file. Raises SettingsError."""
    data, stamp = read_file(path)
    try:
        return plans_of(data, path, regions), stamp
    except WrongPlans as error:
        raise SettingsError(f"The setting EVERWATCH_PLANS_FILE names wrong plans: {error}.") from None


class PlansFile:
    """``current`` are the plans of the last state of the file that was right; replaced as a whole, never changed.

    ``regions``: those that it may name; None: any. Raises SettingsError if the file is wrong to begin with.
    """

    def __init__(self, path: Path, regions: Collection[str] | None = None) -> None:
        self._path = path
        self._regions = regions
        self._seen: Stamp | None
        self.current, self._seen = read_plans(path, regions)
        PLANS_OK.set(1)

    def look(self) -> bool:
        """Take the file as it is now, if it is another than at the last look; whether the plans were replaced.

        A fault in it is logged once, and the plans stay as they were. May be called in a thread.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        try:
            data, read = read_file(self._path)
            plans = plans_of(data, self._path, self._regions)
        except EverwatchError as error:
            # a file that is being written is half there: it is looked at again as soon as it is another one
            self._seen = stamp
            PLANS_OK.set(0)
            logger.error("the plans stay as they were: %s", error)
            return False
        self._seen, self.current = read, plans
        PLANS_OK.set(1)
        logger.info("plans taken from %s: %s", self._path, ", ".join(sorted(plans.all)))
        return True

    def _stamp(self) -> Stamp | None:
        try:
            return Stamp.of(self._path.stat())
        except OSError:
            return None
