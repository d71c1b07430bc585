"""The durable store: one SQLite file per broker, one synced transaction per burst."""
