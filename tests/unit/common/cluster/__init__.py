"""Tests of `common/cluster/`."""
