"""What each operation does: a short function that checks, emits records and gives the result."""
