"""WebSocket sessions: what one client does on one connection, with many mailboxes and many publishes in flight."""
