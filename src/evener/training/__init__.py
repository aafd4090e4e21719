"""What users touch: the session, the seams of loader and optimizer, the flat parameter store. Here, and only here, is torch."""

from ..runtime.worker import RunError
from .optimizer import ScriptError
from .session import Session, join

__all__ = ["RunError", "ScriptError", "Session", "join"]
