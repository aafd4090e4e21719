"""What users touch: the session, the seams of loader and optimizer, the parameter store. Only here is torch."""

from ..runtime.worker import RunError
from .joining import join
from .optimizer import ScriptError
from .session import Session

__all__ = ["RunError", "ScriptError", "Session", "join"]
