"""What the service gets wrong today. A case that is right (`python -m tests.realwork` says so) leaves this list."""

OPEN: frozenset[str] = frozenset()
