"""``python -m watchkeeper.cli``: the same as ``wk``."""

from __future__ import annotations

import sys

from watchkeeper.cli import main

sys.exit(main())
