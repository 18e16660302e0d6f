"""Runs a module until its parent dies, where the kernel offers no parent death signal (macOS).

``python -m watchkeeper.daemon.lifeline MODULE [ARGUMENT...]``: standard input is a pipe whose other end only
the parent holds. Its end means that the parent is gone, and this process gets SIGTERM, which every part
answers by stopping cleanly.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def watch_parent(descriptor: int) -> None:
    """Send this process SIGTERM when the descriptor reaches its end."""
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Watch the parent in a thread and run the named module as the main program."""
    module = sys.argv[1]
    threading.Thread(target=watch_parent, args=(0,), name="lifeline", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
