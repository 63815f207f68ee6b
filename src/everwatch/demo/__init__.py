"""The demonstration: made-up users on a real Kafka, and an account that proves that nothing was missed."""
