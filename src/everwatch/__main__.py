"""``python -m everwatch`` is ``everwatch``."""

from everwatch.cli import main

main()
