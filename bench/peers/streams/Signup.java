package peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** A signup as it came in: the user and the monitors that the user has from now on. */
record Signup(byte[] userId, List<Monitor> monitors) {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** One monitor: its key (user_id NUL monitor_id), its interval, and the bytes that each of its ticks carries. */
    record Monitor(byte[] key, long intervalMs, byte[] spec) {}

    /** Throws IOException or IllegalArgumentException if {@code value} is not a signup. */
    static Signup parse(byte[] value) throws IOException {
        JsonNode signup = JSON.readTree(value);
        String userId = text(signup, "user_id");
        List<Monitor> monitors = new ArrayList<>();
        for (JsonNode monitor : signup.path("monitors")) {
            String kind = text(monitor, "kind");
            String monitorId = monitor.path("monitor_id").asText("");
            if (monitorId.isEmpty()) {
                monitorId = kind;
            }
            ObjectNode spec = JSON.createObjectNode().put("monitor_id", monitorId).put("kind", kind);
            spec.set("config", monitor.path("config"));
            byte[] key = (userId + '\0' + monitorId).getBytes(StandardCharsets.UTF_8);
            JsonNode every = monitor.path("schedule").path("every");
            monitors.add(new Monitor(key, durationMs(every.asText()), JSON.writeValueAsBytes(spec)));
        }
        return new Signup(userId.getBytes(StandardCharsets.UTF_8), monitors);
    }

    /** "30s", "5m", "1h", "1d", or a number of seconds. */
    static long durationMs(String text) {
        int units = text.isEmpty() ? -1 : "smhd".indexOf(text.charAt(text.length() - 1));
        double count = Double.parseDouble(units < 0 ? text : text.substring(0, text.length() - 1));
        long unitMs = new long[] {1_000, 60_000, 3_600_000, 86_400_000}[Math.max(units, 0)];
        long durationMs = Math.round(count * unitMs);
        if (durationMs < Ring.STEP_MS) {
            throw new IllegalArgumentException("an interval of '" + text + "' is too short");
        }
        return durationMs;
    }

    private static String text(JsonNode node, String name) {
        String text = node.path(name).asText("");
        if (text.isEmpty()) {
            throw new IllegalArgumentException("it has no " + name);
        }
        return text;
    }
}
