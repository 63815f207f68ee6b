"""Peers of Everwatch in the same run: the same job in Kafka Streams and in plain Faust.

Signups in JSON on one topic become ticks on another (key: user, value: constant bytes, timestamp: when it was due,
partition: the signup's), each monitor at the instants that ``everwatch.schedule.every`` computes. Both are written and
tuned as an expert of the library would. The caller creates both topics first; a peer creates its changelog.
Figures are fair after one lap of the ring: Java compiles, and RocksDB settles, while the first one goes by.
"""

from bench.peers.faust_peer import faust_peer
from bench.peers.process import Peer, PeerError
from bench.peers.streams import streams_peer

__all__ = ["Peer", "PeerError", "faust_peer", "streams_peer"]
