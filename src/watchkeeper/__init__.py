"""Watchkeeper: the flight recorder and safety officer for coding agents.

The package root imports nothing, so that a command pays only for what it uses.
"""

__version__ = "0.1.0"
