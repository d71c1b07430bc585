"""The HTTP front: a strict request parser, connections, and the server loop that owns them."""
