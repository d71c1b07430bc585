"""What is common to all operations: checks, counters, waiting, scheduled work, the request log, gauges."""
