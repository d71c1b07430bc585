"""The only way to the brokers: a DEALER per broker, calls in flight, timeouts."""
