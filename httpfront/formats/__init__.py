"""What requests say and responses show, without I/O: parameters, headers, batches, NDJSON."""
