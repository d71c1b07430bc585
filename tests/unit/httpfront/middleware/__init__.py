"""Tests of `httpfront/middleware/`."""
