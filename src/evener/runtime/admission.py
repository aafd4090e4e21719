"""Who is heard: whose key is allowed at this moment, and how often somebody may begin anew."""

from __future__ import annotations

import zmq

from . import addresses
from .transport import Listener

PER_KEY = 64
"""Processes that may take part with one key at the same time."""

GREETINGS, REFILL = 1000, 10.0
"""Greetings that one key, or all who share a token, may say at once; and per second after that. Each is recorded."""


class Admission:
    """Knows the users of the connections: by a public key, or all by the run's token.

    Args:
        listener: knows the keys that are allowed.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._names: dict[str, str] = {}  # of those who were heard: also of keys taken back
        self._greetings: dict[str, tuple[float, float]] = {}

    @property
    def by_key(self) -> bool:
        """Whether each user has a key."""
        return self._listener.allowed() is not None

    def heard(self, user: str) -> bool:
        """Whether what this user says counts."""
        allowed = self._listener.allowed()
        if allowed is None:
            return True
        if user in allowed:
            self._names[user] = allowed[user]
        return user in allowed

    def name(self, user: str) -> str:
        """What the user's key is called; empty where there are no keys."""
        return self._names.get(user, user[:8] + "...") if self.by_key else ""

    def who(self, frame: zmq.Frame) -> str:
        """Who sent this, and where its connection comes from."""
        user = str(frame.get("User-Id"))
        address = str(frame.get("Peer-Address")).removeprefix("::ffff:")
        return f"{name}, {address}" if (name := self.name(user)) else address

    def may_greet(self, user: str, now: float) -> bool:
        """Whether this user may say hello (once more), at ``now`` s."""
        left, then = self._greetings.get(user, (float(GREETINGS), now))
        left = min(float(GREETINGS), left + (now - then) * REFILL)
        self._greetings[user] = max(0.0, left - 1.0), now
        return left >= 1.0


def near(frame: zmq.Frame) -> bool:
    """Whether it came from this machine."""
    return not addresses.reaches_out(str(frame.get("Peer-Address")))
