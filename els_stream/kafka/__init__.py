"""Kafka outside the consumer and the relay: topics, log offsets, the consumer group, and the types of offsets."""
