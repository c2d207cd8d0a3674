"""A broker in memory that obeys the same laws as Kafka. Never used by a running product."""
