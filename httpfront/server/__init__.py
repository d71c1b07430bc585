"""The HTTP server: listening sockets, connections, the strict parser, bodies and responses."""
