"""The server's own limit: how many contributions it takes, against a bare loop. ``python -m benchmarks.server``."""
