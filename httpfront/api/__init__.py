"""The public port: the HTTP API, one module per resource."""
