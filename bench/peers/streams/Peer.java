package peer;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Per-user monitors as a Kafka Streams application.
 *
 * <p>Arguments: bootstrap servers, application id, input topic, output topic, state folder, threads. Says
 * "running N tasks" on stdout after each rebalance. Every registered monitor is one record in the topic
 * "(application id)-monitors-changelog". SIGTERM stops it.
 */
public final class Peer {
    private static final int MOST_PARTITIONS = 10_000;
    private static final Duration STOP_WITHIN = Duration.ofSeconds(8);

    private Peer() {}

    public static void main(String[] args) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(args[2], args[3]), settings(args));
        CountDownLatch stopped = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                int tasks = streams.metadataForLocalThreads().stream().mapToInt(t -> t.activeTasks().size()).sum();
                System.out.println("running " + tasks + " tasks");
            } else if (now == KafkaStreams.State.ERROR) {
                stopped.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(STOP_WITHIN);
            stopped.countDown();
        }));
        streams.start();
        stopped.await();
    }

    private static Topology topology(String signups, String ticks) {
        ProcessorSupplier<byte[], byte[], byte[], Tick> monitors = new ProcessorSupplier<>() {
            @Override
            public Monitors get() {
                return new Monitors();
            }

            @Override
            public Set<StoreBuilder<?>> stores() {
                // a record cache would only delay what is written once and scanned in order; progress, though, is
                // overwritten at each sweep, and with a cache its changelog gets one record a commit
                return Set.of(
                        store(Monitors.MONITORS).withCachingDisabled(),
                        store(Monitors.RING).withCachingDisabled(),
                        store(Monitors.PROGRESS).withCachingEnabled());
            }
        };
        Serializer<Tick> spec = (topic, tick) -> tick.spec();
        List<Optional<Set<Integer>>> partitions =
                IntStream.range(0, MOST_PARTITIONS).mapToObj(number -> Optional.of(Set.of(number))).toList();
        StreamPartitioner<byte[], Tick> asItCame = (topic, user, tick, count) -> partitions.get(tick.partition());
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        return new Topology()
                .addSource("signups", bytes, bytes, signups)
                .addProcessor("monitors", monitors, "signups")
                .addSink("ticks", ticks, new ByteArraySerializer(), spec, asItCame, "monitors");
    }

    private static StoreBuilder<KeyValueStore<byte[], byte[]>> store(String name) {
        return Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(name), Serdes.ByteArray(), Serdes.ByteArray())
                .withLoggingEnabled(Map.of());
    }

    private static Properties settings(String[] args) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[5]);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        // the punctuator runs between polls, so a wait of the default 100 ms would make ticks late by as much
        settings.put(StreamsConfig.POLL_MS_CONFIG, 10);
        settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, RocksTuning.class);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 1024 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 10);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 64L * 1024 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        // larger polls than the default 1,000, yet short enough that a sweep in between is not held up
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 2_000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 8_000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 2_600);
        return settings;
    }
}
