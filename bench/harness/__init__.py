"""Start and measure server processes; temporary directories."""
