"""OpenTelemetry: the shapes of what agents export, and what they say. The receiver is not part of this package yet."""
