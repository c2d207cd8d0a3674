"""The schema registry through its Confluent API, with every call bounded."""
