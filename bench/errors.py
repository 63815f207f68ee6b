"""Errors of measurements."""


class Unmeasured(Exception):
    """A figure could not be measured; the message is one sentence for a person."""
