"""Tests of `httpfront/gateway/`."""
