"""Commands for operators: they look at stores and copy them."""
