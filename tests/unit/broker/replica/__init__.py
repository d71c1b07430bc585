"""Tests of `broker/replica/`."""
