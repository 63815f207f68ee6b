"""When monitors are due: durations, instants and schedules, pure (no clock, no I/O)."""
