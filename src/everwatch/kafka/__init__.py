"""Kafka: clients, topic administration and the embedded broker."""
