"""Schedules, durations and instants, pure (no clock, no I/O)."""
