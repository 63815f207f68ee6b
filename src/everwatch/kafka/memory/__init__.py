"""Kafka in memory: topics, consumer groups and transactions of one process, without a broker.

For tests, trials and replays. It passes the same contract suite as a real broker (tests/contract/test_kafka.py) for
what Everwatch uses of its clients, and has switches for what a test needs a broker to do: ``held``, ``loses``,
``damaged``, ``is_away``. Not there: quotas, ACLs, retention, compaction, leader changes.
"""

from everwatch.kafka.memory.broker import MemoryKafka, SentRecord
from everwatch.kafka.memory.clients import MemoryClients
from everwatch.kafka.memory.log import Log, LogEntry

__all__ = ["Log", "LogEntry", "MemoryClients", "MemoryKafka", "SentRecord"]
