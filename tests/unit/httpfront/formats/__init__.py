"""Tests of `httpfront/formats/`."""
