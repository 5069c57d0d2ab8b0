"""The way from the outbox to a destination (a project, several projects, or files), and the resend."""
