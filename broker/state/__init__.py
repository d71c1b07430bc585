"""What a broker holds in memory. `State.apply(record)` is the only thing that changes it."""
