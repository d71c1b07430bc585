"""The broker: a deterministic state machine behind one ROUTER socket."""
