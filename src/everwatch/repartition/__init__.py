"""A new generation of topics with another partition count: copied beside the old one, proved by hashes, switched to."""
