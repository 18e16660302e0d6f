"""The index: projections of the facts, rebuilt from ledger and archive whenever wanted."""
