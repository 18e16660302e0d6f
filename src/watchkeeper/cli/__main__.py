"""``python -m watchkeeper.cli``: the same as ``wk``."""

from __future__ import annotations

import sys

from watchkeeper.cli import main

if __name__ == "__main__":
    sys.exit(main())
