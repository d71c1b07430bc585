"""The operations port: metrics, the admin API, the dashboard."""
