"""Tests of `broker/server/`."""
