"""Tests of `httpfront/`."""
