"""State of the worker's partitions: the table, its changelog, timetables, recovery."""
