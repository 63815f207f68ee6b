"""The worker: the Faust application and its parts. Only this package imports Faust.

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
- **result**: ``transport/batch_consumer`` → ``agents/isolation`` → ``agents/feedback`` → ``result_application``
  (``everwatch.rules.lifecycle`` decides the state) → ``outputs/transitions`` → ``state/unit_of_work``;
- **rebalance**: ``app`` (partitions are revoked), ``state/monitors_table`` (others are assigned) → ``ownership`` →
  ``state/partition_logs`` (fences the owner before) → ``state/table_examination`` → ``state/recovery`` (reads what the
  table lacks) → ``state/owned_partitions``.

The wiring comes last: ``engine``, ``app``, ``worker``.

A poison record, one that makes its handler fail each time, is found by halving its batch (``agents/isolation``); it
goes to the topic ``dead-letters`` with the reason (``outputs/rejected_inputs``), and its offset is committed. A batch
that cannot be read at all is reported by ``transport/batch_consumer`` and goes there, too. A tick that no record can
hold becomes a skipped result (``ticking/skipped_ticks``), an agenda that fails is dropped (``ticking/agenda_runner``),
and an entry of the table that cannot be decoded counts as absent (``state/undecodable_entries``).

A late tick: ``ticking/emitter`` logs which partition is behind, ``ticking/sweep_measures`` has the metrics. A sweep
waits for the lock of its partition (``state/owned_partition``), which units of work hold, for the index of due instants
(``ticking/due_index_loader``) and for the broker (``everwatch.kafka.batch_producer``).

Order of durability: of an input, its transitions → its changelog records → the RocksDB table → the
timetable → its reply → the offset of the input. Of ticks, the ticks → their progress, once a second. After a crash
about a second of ticks is emitted again; a check may run twice then, and the database counts it once, as a result is
known by user, monitor, scheduled instant, attempt and region.

``docs/architecture.md`` has the five paths step by step, and a glossary.
"""
