"""The state directory, which outlives a session: its locks, and the outboxes with their journals."""
