"""Clients that put servers under load."""
