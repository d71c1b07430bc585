"""What several test modules share: one module per noun."""
