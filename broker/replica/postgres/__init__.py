"""The log as rows of a table of PostgreSQL: `docs/replication.md`."""
