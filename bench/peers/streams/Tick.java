package peer;

/** What goes to the output topic: the partition that the signup came from, and the bytes of the record. */
record Tick(int partition, byte[] spec) {}
