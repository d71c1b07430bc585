"""Webhooks: forwards the messages of users to URLs, for `fanmail forward`."""
