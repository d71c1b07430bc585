"""The HTTP server over raw sockets."""
