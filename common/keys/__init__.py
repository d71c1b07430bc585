"""API keys with their rights, and the key pairs of CURVE."""
