"""The log as a stream of NATS JetStream: `docs/replication.md`."""
