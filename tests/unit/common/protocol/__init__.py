"""Tests of `common/protocol/`."""
