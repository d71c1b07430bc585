"""Tests of `broker/operations/`."""
