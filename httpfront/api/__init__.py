"""The public port: the HTTP API, a file per resource."""
