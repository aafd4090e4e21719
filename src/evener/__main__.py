"""``python -m evener``: the command ``evener``, with this very Python."""

import sys

from .cli import main

sys.exit(main())
