"""The table, `results.json` and `results.png`."""
