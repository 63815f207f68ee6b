"""State of the worker's partitions: the table, its changelog, timetables, recovery.

``unit_of_work`` collects the changes of a batch, ``partition_logs`` commits them to the changelog, ``entry_store``
keeps the table in RocksDB, with ``time_indexes`` of what falls due. ``owned_partitions`` opens and closes partitions,
each an ``owned_partition`` with a timetable that ``timetable_planner`` fills. ``monitors_table`` receives assignments,
``table_examination`` examines a table before it is used, and ``recovery`` reads what it lacks.
"""
