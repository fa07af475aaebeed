"""What the demo and the tests put in place of the world: a CivitAI, and an instance. Nothing here serves users."""
