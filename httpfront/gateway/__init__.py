"""The only way to the brokers: a DEALER per broker, calls under way, timeouts."""
