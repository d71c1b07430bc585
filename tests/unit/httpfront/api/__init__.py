"""Tests of `httpfront/api/`."""
