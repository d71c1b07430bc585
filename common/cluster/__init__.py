"""Which brokers there are, and which of them owns the slot of a topic."""
