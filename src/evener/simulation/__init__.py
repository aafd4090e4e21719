"""The virtual clock: both machines, driven by a deterministic heap of events instead of sockets and processes."""
