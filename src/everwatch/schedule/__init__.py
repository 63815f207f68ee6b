"""When monitors are due: durations and schedules, pure (no clock, no I/O)."""
