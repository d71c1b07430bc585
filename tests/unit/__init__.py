"""Tests that start no process, in folders as the sources are."""
