"""Bulk: parameters on their way to the workers, contributions on their way to the server.

``chunks`` is what both directions share; ``server`` and ``worker`` are the two ends. Whoever runs the sockets hands
each bulk message to its end, and hears from it when something is whole. Between processes of one host bytes need not
travel: ``memory`` is where they lie, and messages say what is where.
"""
