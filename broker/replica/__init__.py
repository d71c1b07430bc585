"""A broker whose records go through a replicated log: `docs/replication.md`."""
