"""Keeps transcript bytes, compressed and addressed by their content."""
