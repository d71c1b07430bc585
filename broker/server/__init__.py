"""The way in and out: the loop, the ROUTER and its Unix socket, ZAP, peers, the outbox, loading."""
