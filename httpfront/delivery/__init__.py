"""How messages reach readers that wait for them."""
