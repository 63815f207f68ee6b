"""The worker: the Faust application and what it is made of. Only this package imports Faust.

Where to begin: ``worker.py`` (the process), ``app.py`` (Faust's topics, table and agents), ``engine.py`` (the parts and
their order), ``events.py`` (which part handles what another one reports). Then one folder a path:

- a signup, command, signal or result comes in: ``transport/batch_consumer.py``, ``agents/isolation.py`` (poison records
  go to the dead letters there), ``agents/``, ``state/unit_of_work.py``, ``state/partition_logs.py``;
- a monitor becomes a tick: ``ticking/emitter.py``, and back to ``state/partition_logs.py`` with the progress;
- what a kind does is not here: ``src/everwatch/kinds/`` has a file for each (CONTRIBUTING.md, *Add a kind*). Executors
  run those that open sockets; ``ticking/inline_evaluator.py`` asks those that judge signals;
- a rebalance: ``ownership.py``, ``state/table_examination.py``, ``state/owned_partitions.py``.

``docs/architecture.md`` has the five paths step by step.
"""
