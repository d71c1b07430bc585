"""How messages reach a reader who waits for them."""
