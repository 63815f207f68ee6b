package peer;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Signups in, due ticks out; one instance for each partition. Nothing is written per tick. */
final class Monitors implements Processor<byte[], byte[], byte[], Tick> {
    static final String MONITORS = "monitors";
    static final String RING = "ring";
    static final String PROGRESS = "progress";

    private static final Logger LOG = LoggerFactory.getLogger(Monitors.class);
    private static final Duration SWEEP = Duration.ofMillis(100);
    private static final byte[] UPTO = {0};

    private ProcessorContext<byte[], Tick> context;
    private KeyValueStore<byte[], byte[]> monitors;
    private KeyValueStore<byte[], byte[]> ring;
    private KeyValueStore<byte[], byte[]> progress;
    private final TreeSet<Long> intervals = new TreeSet<>();
    private int partition;
    private long uptoMs;

    @Override
    public void init(ProcessorContext<byte[], Tick> context) {
        this.context = context;
        monitors = context.getStateStore(MONITORS);
        ring = context.getStateStore(RING);
        progress = context.getStateStore(PROGRESS);
        partition = context.taskId().partition();
        byte[] upto = progress.get(UPTO);
        uptoMs = upto == null ? context.currentSystemTimeMs() : ByteBuffer.wrap(upto).getLong();
        findIntervals();
        // anchored, because all phases are multiples of the sweep: right after an instant, not up to a sweep later
        context.schedule(Instant.EPOCH, SWEEP, PunctuationType.WALL_CLOCK_TIME, this::sweep);
    }

    /** New entries go in before old ones come out: a crash in between leaves a monitor that is put again, not lost. */
    @Override
    public void process(Record<byte[], byte[]> record) {
        Signup signup;
        try {
            signup = Signup.parse(record.value());
        } catch (IOException | IllegalArgumentException error) {
            LOG.warn("a signup in partition {} is left out: {}", partition, error.getMessage());
            return;
        }
        List<byte[]> stale = ringKeysOf(signup.userId());
        // the clock that a record sees may be older than the last sweep
        long putAtMs = Math.max(uptoMs, context.currentSystemTimeMs());
        if (!stale.isEmpty()) {
            // what is replaced was due until now
            sweep(putAtMs);
        }
        for (Signup.Monitor monitor : signup.monitors()) {
            byte[] ringKey = Ring.key(monitor.intervalMs(), monitor.key());
            ring.put(ringKey, Ring.value(monitor.spec(), putAtMs));
            intervals.add(monitor.intervalMs());
            stale.removeIf(key -> Arrays.equals(key, ringKey));
        }
        for (Signup.Monitor monitor : signup.monitors()) {
            monitors.put(monitor.key(), Ring.value(monitor.spec(), monitor.intervalMs()));
        }
        for (byte[] ringKey : stale) {
            ring.delete(ringKey);
            byte[] key = Ring.monitorKey(ringKey);
            if (signup.monitors().stream().noneMatch(monitor -> Arrays.equals(monitor.key(), key))) {
                monitors.delete(key);
            }
        }
    }

    private List<byte[]> ringKeysOf(byte[] userId) {
        byte[] from = Arrays.copyOf(userId, userId.length + 1);
        byte[] to = from.clone();
        to[userId.length] = 1;
        List<byte[]> keys = new ArrayList<>(2);
        try (KeyValueIterator<byte[], byte[]> found = monitors.range(from, to)) {
            while (found.hasNext()) {
                KeyValue<byte[], byte[]> monitor = found.next();
                keys.add(Ring.key(Ring.number(monitor.value), monitor.key));
            }
        }
        return keys;
    }

    /** Emits what was due after the last sweep, up to now; however late it comes, nothing is left out. */
    private void sweep(long nowMs) {
        if (nowMs <= uptoMs) {
            return;
        }
        for (long intervalMs : intervals) {
            long fromMs = uptoMs + 1;
            while (fromMs <= nowMs) {
                long lapMs = fromMs - fromMs % intervalMs;
                long endMs = Math.min(nowMs + 1, lapMs + intervalMs);
                emit(intervalMs, lapMs, fromMs - lapMs, endMs - lapMs);
                fromMs = endMs;
            }
        }
        uptoMs = nowMs;
        progress.put(UPTO, ByteBuffer.allocate(Long.BYTES).putLong(nowMs).array());
    }

    private void emit(long intervalMs, long lapMs, long fromPhaseMs, long endPhaseMs) {
        byte[] from = Ring.bound(intervalMs, fromPhaseMs);
        byte[] end = Ring.bound(intervalMs, endPhaseMs);
        try (KeyValueIterator<byte[], byte[]> due = ring.range(from, end)) {
            while (due.hasNext()) {
                KeyValue<byte[], byte[]> entry = due.next();
                long scheduledAtMs = lapMs + Ring.phaseMs(entry.key);
                if (scheduledAtMs > Ring.number(entry.value)) {
                    Tick tick = new Tick(partition, Ring.spec(entry.value));
                    context.forward(new Record<>(Ring.userId(entry.key), tick, scheduledAtMs));
                }
            }
        }
    }

    /** Which intervals there are: one seek for each. */
    private void findIntervals() {
        long next = 0;
        while (true) {
            try (KeyValueIterator<byte[], byte[]> rest = ring.range(Ring.bound(next, 0), null)) {
                if (!rest.hasNext()) {
                    return;
                }
                long intervalMs = Ring.intervalMs(rest.next().key);
                intervals.add(intervalMs);
                next = intervalMs + 1;
            }
        }
    }
}
