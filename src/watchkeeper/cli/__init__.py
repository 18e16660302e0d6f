"""The command line: one command per file, and only the asked one is imported.

`watchkeeper.cli.entry` holds the table of commands; a command module offers ``HELP``, ``configure(parser)``
and ``run(arguments, context) -> int``. The package root imports nothing, so that start-up stays cheap.
"""

from __future__ import annotations


def main() -> int:
    """Run the command named by the process's arguments and return its exit status."""
    from watchkeeper.cli.entry import is_quick, run

    status = run()
    if is_quick():
        # Taking the interpreter apart takes as long as a small question, and nothing is left to be done.
        import os

        os._exit(status)
    return status
