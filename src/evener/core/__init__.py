"""The pure core: every decision, and nothing else.

Two state machines, :class:`~evener.core.coordinator.Coordinator` (the server's) and
:class:`~evener.core.worker.WorkerCore` (a worker's), turn events into commands. Time is an argument. Only the
standard library is imported here, so simulator, runtime and tests drive the very same objects.
"""
