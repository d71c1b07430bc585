"""Commands that need neither a broker nor a front: the quickstart, keys, the page of settings."""
