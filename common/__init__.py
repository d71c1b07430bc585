"""What brokers and fronts share: settings, errors, operations, the wire, names, partitioning, time."""
