"""Everwatch: an always-on set of monitors for every user of a product, on Kafka."""


def __getattr__(name: str) -> str:
    """Look up ``__version__`` when it is asked for: finding a package's metadata takes longer than most imports."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("everwatch")
