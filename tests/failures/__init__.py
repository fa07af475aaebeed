"""A labelled collection of failures: what real tools print when they fail, and the true cause."""
