"""The commands for a terminal: a client of the HTTP API like any other. Nothing of the service itself is imported."""
