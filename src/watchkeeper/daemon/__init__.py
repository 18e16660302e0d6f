"""The composition root: starts, supervises and stops decider, recorder and server."""
