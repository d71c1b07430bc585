"""What the engines of logs have in common."""
