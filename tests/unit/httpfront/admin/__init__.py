"""Tests of `httpfront/admin/`."""
