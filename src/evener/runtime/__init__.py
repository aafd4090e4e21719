"""Processes and sockets: the wire protocol, the server's loop, the worker's loop. Carries bytes; decides nothing."""
