"""Tests of `common/tools/`."""
