"""The harness of the tests against a real Kafka."""
