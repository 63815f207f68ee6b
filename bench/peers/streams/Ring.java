package peer;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Keys and values of the stores.
 *
 * <p>A ring key is interval, phase (8 bytes each, big-endian) and the monitor's key, so that what is due between two
 * instants lies together. A value is the tick's bytes and a number behind them: in the ring when the monitor was put,
 * in the monitors store its interval.
 */
final class Ring {
    /** Phases are whole multiples of this many ms. */
    static final long STEP_MS = 100;

    private static final int PREFIX = 2 * Long.BYTES;

    private Ring() {}

    static byte[] key(long intervalMs, byte[] monitorKey) {
        long phaseMs = Long.remainderUnsigned(Blake2b.hash64(monitorKey), intervalMs / STEP_MS) * STEP_MS;
        return ByteBuffer.allocate(PREFIX + monitorKey.length)
                .putLong(intervalMs).putLong(phaseMs).put(monitorKey).array();
    }

    /** Where the entries of this interval and phase begin; no entry has this very key. */
    static byte[] bound(long intervalMs, long phaseMs) {
        return ByteBuffer.allocate(PREFIX).putLong(intervalMs).putLong(phaseMs).array();
    }

    static byte[] value(byte[] spec, long number) {
        return ByteBuffer.allocate(spec.length + Long.BYTES).put(spec).putLong(number).array();
    }

    static long intervalMs(byte[] key) {
        return ByteBuffer.wrap(key).getLong();
    }

    static long phaseMs(byte[] key) {
        return ByteBuffer.wrap(key).getLong(Long.BYTES);
    }

    static byte[] monitorKey(byte[] key) {
        return Arrays.copyOfRange(key, PREFIX, key.length);
    }

    static byte[] userId(byte[] key) {
        int end = PREFIX;
        while (key[end] != 0) {
            end++;
        }
        return Arrays.copyOfRange(key, PREFIX, end);
    }

    static byte[] spec(byte[] value) {
        return Arrays.copyOf(value, value.length - Long.BYTES);
    }

    static long number(byte[] value) {
        return ByteBuffer.wrap(value).getLong(value.length - Long.BYTES);
    }
}
