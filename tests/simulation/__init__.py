"""A whole cluster in one process, from a seed: the real loops of brokers and fronts over a network that is made up.

`python -m tests.simulation --help` says how to run it. The sockets, the clocks and the disk's bad moments
are doubles; what runs between them is the product: `broker/server/loop.py`, `httpfront/hub.py`,
`httpfront/gateway/` and what they call.
"""
