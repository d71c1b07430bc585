"""A measurement per file."""
