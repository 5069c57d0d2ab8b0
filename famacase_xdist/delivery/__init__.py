"""From the outbox to a destination: a project, several projects, or files; and what earlier sessions left."""
