"""Tests of `broker/store/`."""
