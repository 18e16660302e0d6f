"""Takes secrets out of events before they are stored."""
