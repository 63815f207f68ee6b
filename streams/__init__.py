"""The worker: the Faust application and what it is made of. Only this package imports Faust.

Faust does four things: membership of the group and assignment of partitions, handing batches to agents through
channels, opening the RocksDB databases, and reading the changelog for standbys. All else is here.

Begin with ``events.py``: one table, who reports what to whom. Then a path a line, the modules in the order in which a
record passes them:

- **signup, command**: ``transport/batch_consumer`` → ``agents/isolation`` (poison records go to the dead letters there)
  → ``agents/input_admission`` → ``agents/registration`` → ``state/unit_of_work`` → ``state/partition_logs`` →
  ``state/entry_store`` → ``state/timetable_planner``;
- **signal**: ``transport/batch_consumer`` → ``agents/isolation`` → ``agents/signals`` → ``state/unit_of_work``;
- **tick**: ``everwatch.timetable`` (what is due when, in memory), held by ``state/owned_partition``, filled ahead by
  ``ticking/due_index_loader`` → ``ticking/emitter`` → ``state/partition_logs`` (progress). Executors run the ticks;
  kinds that judge signals are run by ``ticking/inline_evaluator``. What a kind does is in ``src/everwatch/kinds/``, a
  file each (CONTRIBUTING.md, *Add a kind*);
- **result**: ``transport/batch_consumer`` → ``agents/isolation`` → ``agents/feedback`` → ``state/result_application``
  (``everwatch.rules.lifecycle`` decides the state) → ``outputs/transitions`` → ``state/unit_of_work``;
- **rebalance**: ``app`` (partitions are revoked), ``state/monitors_table`` (others are assigned) → ``ownership`` →
  ``state/partition_logs`` (fences the owner before) → ``state/table_examination`` → ``state/recovery`` (reads what the
  table lacks) → ``state/owned_partitions``.

The wiring comes last: ``engine``, ``app``, ``worker``.

What is durable, and in which order: of an input, its transitions → its changelog records → the RocksDB table → the
timetable → its reply → the offset of the input. Of ticks, the ticks → their progress, once a second. After a crash
about a second of ticks is emitted again; a check may run twice then, and the database counts it once, as a result is
known by user, monitor, scheduled instant, attempt and region.

``docs/architecture.md`` has the five paths step by step, and a glossary.
"""
