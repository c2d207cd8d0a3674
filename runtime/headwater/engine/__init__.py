"""The loop and the transaction: from records to exactly-once outputs. Never imports an adapter."""
