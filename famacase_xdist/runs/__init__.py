"""A run: created, joined, shared under a run key, completed."""
