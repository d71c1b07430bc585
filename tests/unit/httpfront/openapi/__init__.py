"""Tests of `httpfront/openapi/`."""
