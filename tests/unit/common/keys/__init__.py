"""Tests of `common/keys/`."""
