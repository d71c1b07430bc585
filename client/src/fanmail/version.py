"""The version of this package, which its build reads; it is that of the server in the same commit."""

VERSION = "0.2.0"
