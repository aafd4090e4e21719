"""Processes and sockets. Carries bytes; decides nothing.

``protocol`` (the messages) and ``transport`` (ZeroMQ) are both sides'. On the server ``server`` is the loop between
sockets and coordinator, ``peers`` who is connected. In a worker ``worker`` is what the thread that computes sees,
``line`` the thread that talks. ``bulk`` has both ends of what travels in chunks: parameters down, contributions up.
"""
