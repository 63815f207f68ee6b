"""Memory of the RocksDB databases: one block cache and one budget of write buffers for all partitions."""

from typing import Any

from faust.stores import rocksdb
from rocksdict import BlockBasedOptions, Cache, Options, WriteBufferManager

MIB = 1024 * 1024

# Faust's defaults (a 2 GiB block cache and three 64 MiB write buffers) are meant for one table on a large machine,
# and are taken once for each partition; here all partitions share what is given
OPTIONS = {"block_cache_size": 64 * MIB, "write_buffer_size": 16 * MIB, "max_write_buffer_number": 2}

WRITE_BUFFERS = 64 * MIB


class SharedMemoryOptions(rocksdb.RocksDBOptions):
    """Faust's options for a database, with one block cache and one budget of write buffers for all of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cache = Cache(self.block_cache_size)
        self._buffers = WriteBufferManager(WRITE_BUFFERS, False)

    def as_options(self) -> Options:
        """Options for one database."""
        options: Options = super().as_options()
        blocks = BlockBasedOptions()
        blocks.set_bloom_filter(self.bloom_filter_size, block_based=False)
        blocks.set_block_cache(self._cache)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self._buffers)
        return options
