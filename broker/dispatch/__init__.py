"""What holds for all operations: checks, counts, waiting, scheduled work, the request log, gauges."""
