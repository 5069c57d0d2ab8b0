"""What outlives a session: the state directory, its locks, and the outbox with its journal."""
