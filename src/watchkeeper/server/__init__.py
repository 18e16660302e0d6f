"""The HTTP API, the live stream and the dashboard's files, as a process of their own."""
