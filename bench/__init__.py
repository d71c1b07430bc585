"""Benchmarks: what this server does on this machine, beside what bare programs of the same kind do."""
