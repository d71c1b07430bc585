"""What several test modules share, one noun a file."""
