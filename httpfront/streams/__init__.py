"""Streams: a subscription that is read over one connection for as long as its client likes."""
