"""The tests: `unit` needs no sockets of ours, `http` drives the real thing; `support` is shared by them."""
