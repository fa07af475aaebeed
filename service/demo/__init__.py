"""Stand-ins for the demo and the tests: a CivitAI and an instance. Nothing here serves users."""
