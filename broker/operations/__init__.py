"""The operations: short functions that check, emit records and return the result."""
