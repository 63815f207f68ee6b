"""The command line. Importing it reads nothing and connects to nothing."""

from everwatch.cli.main import main

__all__ = ["main"]
