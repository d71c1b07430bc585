"""Tests of `httpfront/server/`."""
