"""Claude Code: its hook events, its transcripts, and its settings."""
