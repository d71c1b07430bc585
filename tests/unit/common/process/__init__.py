"""Tests of `common/process/`."""
