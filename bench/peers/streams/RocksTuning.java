package peer;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.WriteBufferManager;

/** One block cache and one limit of write buffers for all stores of the process, as Kafka's memory guide has it. */
public final class RocksTuning implements RocksDBConfigSetter {
    private static final long MIB = 1024 * 1024;

    static {
        RocksDB.loadLibrary();
    }

    private static final Cache CACHE = new LRUCache(192 * MIB);
    private static final WriteBufferManager BUFFERS = new WriteBufferManager(96 * MIB, CACHE);

    @Override
    public void setConfig(String storeName, Options options, Map<String, Object> configs) {
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setBlockCache(CACHE);
        table.setBlockSize(16 * 1024);
        table.setCacheIndexAndFilterBlocks(true);
        table.setPinTopLevelIndexAndFilter(true);
        options.setTableFormatConfig(table);
        options.setWriteBufferManager(BUFFERS);
        options.setWriteBufferSize(16 * MIB);
        options.setMaxWriteBufferNumber(3);
    }

    /** Cache and buffers are shared and live as long as the process. */
    @Override
    public void close(String storeName, Options options) {}
}
