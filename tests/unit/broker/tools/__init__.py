"""Tests of `broker/tools/`."""
