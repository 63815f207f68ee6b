"""Everwatch: an always-on set of monitors for every user of a product, on Kafka."""

from importlib.metadata import version

__version__ = version("everwatch")
