"""Kinds: what a monitor does when it is due. One file a kind; ``registry`` finds them by name."""
