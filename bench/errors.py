"""What can go wrong with a measurement."""


class Unmeasured(Exception):
    """A figure could not be measured; the message is one sentence for a person."""
