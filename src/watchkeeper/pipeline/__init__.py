"""From spool and transcripts into ledger, archive and index: redact, append, interpret, merge."""
