"""Avro contracts: schema, types, codec. Never touches Kafka, never raises for bad data."""
