"""The run that a session reports to: it is created or joined, shared under a run key, and completed."""
