"""Tests of whole clusters: real processes on free ports, real HTTP, real ZeroMQ."""
