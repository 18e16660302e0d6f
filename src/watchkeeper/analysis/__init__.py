"""What the record means: checks, and later coverage signals, patterns and forecasts."""
