"""Kafka through confluent_kafka: the only room that imports its clients."""
