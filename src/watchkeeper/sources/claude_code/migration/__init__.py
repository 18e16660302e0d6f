"""Takes sessions from one project folder to another: what belongs to them, what would break, and the way back."""
