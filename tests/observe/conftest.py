"""The records that these tests look at are made by the helper beside the trace tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "trace"))
