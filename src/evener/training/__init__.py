"""What users touch: the session, the seams of loader and optimizer, the parameter store. Only here is torch."""

from ..runtime.worker import RunError
from .errors import ScriptError
from .joining import join
from .session import Session

__all__ = ["RunError", "ScriptError", "Session", "join"]
