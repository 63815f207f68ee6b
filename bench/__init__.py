"""Measurements on real parts: ``uv run python -m bench NAME [--quick] [--json]``.

Each bench starts its own embedded Kafka and its own processes, and is judged by an independent reader of the topics,
never by a process's own counters.
"""
