"""The wire: bytes <-> requests and replies, the table of operations, and the names of statistics."""
