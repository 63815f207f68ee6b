"""Backup and restore of a whole installation: topics, offsets and the database, with proof that all of it is there."""
