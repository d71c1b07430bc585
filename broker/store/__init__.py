"""Where records go. `base` is the contract, `memory` the default that keeps nothing."""
