"""Parsing requests and rendering answers, without I/O: parameters, headers, paths, batches, NDJSON, receipts."""
