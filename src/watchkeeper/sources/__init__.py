"""What the agents tell: one folder per agent or protocol."""
