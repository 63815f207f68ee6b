"""State of the worker's partitions: the table, its changelog, timetables, recovery.

``unit_of_work`` collects the changes of a batch, ``fenced_writers`` commits them to the changelog, ``entry_store``
keeps the table in RocksDB, with ``time_indexes`` of what falls due. ``owned_partitions`` opens and closes partitions,
each an ``owned_partition`` with a timetable that ``timetable_planner`` fills. ``monitors_table`` receives assignments,
``table_examination`` examines a table before it is used, and ``catch_up`` reads what it lacks; ``faust_recovery``
follows the changelog for standbys. ``command_deduplication`` knows the ids of inputs that were carried out.
``quotas`` counts a user's monitors within a unit of work. ``table_measures`` and ``table_notes`` count entries,
``undecodable_entries`` those that cannot be read, and ``rocksdb_options`` bounds memory.
"""
