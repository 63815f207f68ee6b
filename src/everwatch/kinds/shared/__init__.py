"""Parts of several kinds, and of kinds that would be too long in one file."""
