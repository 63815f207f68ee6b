"""The error of a backup that is not whole."""

from everwatch.core.errors import EverwatchError


class Damaged(EverwatchError):
    """A file of a backup is missing or is another than was written: ``file`` is its path within the backup."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}.")
        self.file = file
