"""The worker: the Faust application and its parts. Only this package imports Faust.

Faust does four things: membership of the group and assignment of partitions, handing batches to agents through
channels, opening the RocksDB databases, and reading the changelog for standbys. All else is here.

Begin with ``events.py``: one table, which part calls which. Then a path a line, the modules in the order in which a
record passes them. ``transport/batch_consumer`` hands a batch to an agent (``app``), the agent to ``agents/isolation``,
and that, by ``events``, to its handler:

- **signup, command**: ``transport/batch_consumer`` → ``agents/isolation`` → ``agents/input_admission`` →
  ``agents/registration`` → ``agents/newcomers`` or ``agents/monitor_changes`` → ``state/unit_of_work`` →
  ``state/fenced_writers`` → ``state/entry_store`` → ``state/timetable_planner``. Any step may refuse a record as
  invalid; ``agents/isolation`` writes its dead letter when the batch is handled;
- **signal**: ``transport/batch_consumer`` → ``agents/isolation`` → ``agents/signals`` → ``state/unit_of_work``;
- **tick**: ``everwatch.timetable`` (what is due when, in memory), held by ``state/owned_partition``, filled ahead by
  ``ticking/due_index_loader`` → ``ticking/emitter`` → ``state/fenced_writers`` (progress). Executors read the ticks;
- **check**: ``src/everwatch/executor/`` runs the tick's kind and sends the result;
- **inline check**: kinds that judge signals have no tick: ``ticking/inline_evaluator`` runs them here;
- **result**: ``transport/batch_consumer`` → ``agents/isolation`` → ``agents/feedback`` → ``result_application``
  (``everwatch.rules.lifecycle`` decides the state) → ``outputs/transitions`` → ``state/unit_of_work``;
- **result stored**: by the sink (``src/everwatch/sink/``, ``store/``), which reads the same topic;
- **rebalance**: ``app`` (partitions are revoked), ``state/monitors_table`` (others are assigned) → ``ownership`` →
  ``state/fenced_writers`` (fences the earlier owner) → ``state/table_examination`` →
  ``state/catch_up`` (reads what the table lacks) → ``state/owned_partitions`` → ``transport/batch_consumer``.
  A worker that starts again over its folder gets its partitions back without one (``transport/group_membership``).

The wiring comes last: ``engine``, ``app``, ``worker``.

A kind is a file in ``src/everwatch/kinds/`` and a line in its registry (CONTRIBUTING.md, *Add a kind*).

A poison input, one that makes its handler fail each time, is found by halving its batch (``agents/isolation``); it
goes to the topic ``dead-letters`` with the reason (``outputs/refused_inputs``), and its offset is committed. A batch
that cannot be read at all is reported by ``transport/batch_consumer`` and goes there, too. A tick that its topic
refuses (too large, say) becomes a skipped result (``ticking/skipped_ticks``). A tick that an executor cannot begin
becomes a dead letter at its first failure (``everwatch.executor.check_runner``). Of a monitor's agenda
``ticking/agenda_runner`` carries out what is no tick (reminders, ends of pauses, runs in regions); an item that fails
is dropped from the index. An entry of the table that cannot be decoded counts as absent
(``state/undecodable_entries``).

A late tick: ``ticking/sweep_measures`` has the metrics, and logs what a sweep that took a second has waited for: the
lock of its partition (``state/owned_partition``), while a unit of work held it, the index of due instants
(``ticking/due_index_loader``), or the broker (``everwatch.kafka.batch_producer``). A sweep goes no further than the
partition's ``ceiling``, which new users and retries set (``ceiling_at``). Readiness names the partitions that are
behind (``OwnedPartitions.why_behind``).

Order of durability: of an input, its transitions → its changelog records → the RocksDB table → the timetable → replies
and dead letters acknowledged (replies are sent once the table is written) → the offset of the input. Of ticks, the
ticks → their progress, once a second. After a crash about a second of ticks is emitted again; a check may run twice
then, and the database counts it once, as a result is known by user, monitor, scheduled instant, attempt and region.

Imports go one way: ``worker``, ``app``, ``engine``, ``events``, ``ownership``, then agents, ticking,
``result_application``, outputs and state, transport (``pyproject.toml`` has all of it, ``lint-imports`` checks it). Of
``src/`` only the command ``worker`` imports this package.

``docs/architecture.md`` has the five paths step by step, and a glossary.
"""
