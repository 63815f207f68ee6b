"""Notice the end of the parent process: it holds the other end of our stdin, which ends with it, however it ends."""

import os
import threading
from collections.abc import Callable


def when_input_ends(act: Callable[[], object]) -> None:
    """Call ``act`` in a thread once stdin is at its end."""

    def wait() -> None:
        # read past sys.stdin, whose lock this thread would still hold when the interpreter ends, which then aborts
        while os.read(0, 4096):
            pass
        act()

    threading.Thread(target=wait, name="parent", daemon=True).start()
