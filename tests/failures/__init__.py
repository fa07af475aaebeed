"""A labelled collection of failures: what real tools print when they fail, and what is true about it."""
