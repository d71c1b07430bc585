"""What every process does around its main function: run directory, readiness, sockets, logs, supervision."""
