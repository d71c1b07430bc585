"""The HTTP front: a loop, an HTTP server, the HTTP API, and the way to the brokers."""
