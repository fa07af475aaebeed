"""Real parts for the tests: an OpenSSH server, a stand-in for CivitAI, the service as a process of its own."""
