"""Tests of `broker/state/`."""
