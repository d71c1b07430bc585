"""Tests of `broker/dispatch/`."""
