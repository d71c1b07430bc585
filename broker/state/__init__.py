"""What a broker holds in memory. Only `State.apply(record)` changes it."""
