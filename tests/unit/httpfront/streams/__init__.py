"""Streams without sockets."""
